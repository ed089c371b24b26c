package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// tinkerAbsent are the calls of Tinker's clients that a server of one's own has no use for, and why. They are answered with 404, of
// which clients know that the server does not have what was asked, and which they do not repeat.
var tinkerAbsent = map[string]string{
	"auth/token":                        "API keys are sent as they are: this server makes no tokens of them",
	"auth/apikey/me":                    "API keys are kept by the server's operator, with the command lorikeet keys",
	"audit":                             "what is changed is written to the server's log, which its operator reads",
	"billing/usage/events":              "nothing is billed here",
	"billing/usage/checkpoints/current": "nothing is billed here; GET /api/v1/checkpoints has the bytes of each checkpoint",
	"create_custom_loss":                "losses of one's own are computed by the client: forward_backward_custom does so by itself",
	"retrieve_futures":                  "results are retrieved one by one, with retrieve_future",
	"sessions/:id/trace_export":         "no traces are recorded",
}

// refuseAbsent answers the calls of tinkerAbsent.
func (s *Server) refuseAbsent() {
	for path, why := range tinkerAbsent {
		s.app.All(tinkerPath+path, func(*fiber.Ctx) error {
			return &refusal{status: http.StatusNotFound, code: codeUnsupported, message: why}
		})
	}
}
