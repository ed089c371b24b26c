package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Tokenize splits a text or a conversation.
func (s *Server) Tokenize(c *fiber.Ctx) error {
	var req openapi.TokenizeRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	tokens, err := s.tokenize(callerOf(c), &req)
	if err != nil {
		return err
	}
	out := openapi.Tokens{Tokens: tokens, Count: len(tokens), MaxModelLen: s.context}
	if out.Tokens == nil {
		out.Tokens = []int32{}
	}
	if flag(req.WithPieces, false) {
		out.Pieces = s.pieces(tokens)
	}
	if flag(req.ReturnTokenStrs, false) {
		out.TokenStrs = s.pieces(tokens)
	}
	return sendJSON(c, http.StatusOK, out)
}

// pieces are the texts of tokens.
func (s *Server) pieces(tokens []runtime.Token) []string {
	out := make([]string, len(tokens))
	for i, t := range tokens {
		out[i] = valid(s.model.Piece(t, true))
	}
	return out
}

func (s *Server) tokenize(who caller, req *openapi.TokenizeRequest) ([]runtime.Token, error) {
	if len(req.Messages) > 0 {
		if req.Content != nil || req.Prompt != nil {
			return nil, refuse(codeValue, "messages", "cannot be given together with a text")
		}
		template, text, err := s.rendered(who, &openapi.ChatCompletionRequest{
			GenerationParameters: openapi.GenerationParameters{Model: req.Model, Adapter: req.Adapter},
			Messages:             req.Messages, Tools: req.Tools, ChatTemplateKwargs: req.ChatTemplateKwargs,
			AddGenerationPrompt: req.AddGenerationPrompt, ContinueFinalMessage: req.ContinueFinalMessage,
		})
		if err == nil {
			err = withParam("messages", s.fits(text))
		}
		if err != nil {
			return nil, err
		}
		tokens, err := template.Encode(text)
		return tokens, withParam("messages", err)
	}
	text := req.Content
	switch {
	case text == nil && req.Prompt == nil:
		return nil, refuse(codeMissing, "content", "is missing: content, prompt or messages")
	case text == nil:
		text = req.Prompt
	case req.Prompt != nil:
		return nil, refuse(codeValue, "prompt", "cannot be given together with content")
	}
	if err := s.fits(*text); err != nil {
		return nil, withParam("content", err)
	}
	tokens, err := s.model.Tokenize(*text, flag(req.AddSpecial, flag(req.AddSpecialTokens, false)), flag(req.ParseSpecial, true))
	return tokens, withParam("content", err)
}

// Detokenize joins tokens.
func (s *Server) Detokenize(c *fiber.Ctx) error {
	var req openapi.DetokenizeRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if req.Tokens == nil {
		return refuse(codeMissing, "tokens", "is missing")
	}
	if err := s.checkTokens(req.Tokens, "tokens"); err != nil {
		return err
	}
	content := s.text(req.Tokens)
	return sendJSON(c, http.StatusOK, openapi.Text{Content: content, Prompt: content})
}

// GetTokenizerInfo tells what the tokenizer is, as vLLM does: evaluations tokenize with it.
func (s *Server) GetTokenizerInfo(c *fiber.Ctx) error {
	f := s.model.Facts()
	return sendJSON(c, http.StatusOK, openapi.TokenizerInfo{
		TokenizerClass: f.Tokenizer, BosToken: nullable(f.BOSText), EosToken: nullable(f.EOSText), ChatTemplate: nullable(s.template.Source()),
		ModelMaxLength: s.context,
	})
}
