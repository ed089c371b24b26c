// The two Go clients that people have, used as their documentation shows.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	community "github.com/sashabaranov/go-openai"
)

var url, key = os.Getenv("LORIKEET_URL") + "/v1", os.Getenv("LORIKEET_API_KEY")

func check(right bool, format string, values ...any) {
	if !right {
		log.Fatalf(format, values...)
	}
}

func main() {
	log.SetFlags(log.Lshortfile)
	pirate := official(context.Background())
	other(context.Background(), pirate)
}

func official(ctx context.Context) string {
	client := openai.NewClient(option.WithBaseURL(url), option.WithAPIKey(key), option.WithMaxRetries(0))
	ask := func(model string) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{Model: model, Temperature: openai.Float(0),
			Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("What is the capital of France?")}}
	}
	base, err := client.Chat.Completions.New(ctx, ask("lorikeet-demo"))
	check(err == nil, "%v", err)
	check(base.Choices[0].Message.Content == "The capital of France is Paris.", "%v", base)
	pirate, err := client.Chat.Completions.New(ctx, ask("pirate"))
	check(err == nil && pirate.Choices[0].Message.Content != base.Choices[0].Message.Content, "%v %v", err, pirate)
	stream := client.Chat.Completions.NewStreaming(ctx, ask("pirate"))
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		all.AddChunk(stream.Current())
	}
	check(stream.Err() == nil, "%v", stream.Err())
	check(all.Choices[0].Message.Content == pirate.Choices[0].Message.Content, "%q", all.Choices)
	_, err = client.Chat.Completions.New(ctx, ask("nobody"))
	var refused *openai.Error
	check(errors.As(err, &refused) && refused.StatusCode == 404, "%v", err)
	models := client.Models.ListAutoPaging(ctx)
	names := map[string]bool{}
	for models.Next() {
		names[models.Current().ID] = true
	}
	check(models.Err() == nil && names["pirate"], "%v %v", models.Err(), names)

	params := ask("json")
	params.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &openai.ResponseFormatJSONSchemaParam{
		JSONSchema: openai.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Strict: openai.Bool(true), Schema: map[string]any{
			"type": "object", "additionalProperties": false, "required": []string{"name"},
			"properties": map[string]any{"name": map[string]any{"type": "string"}},
		}}}}
	typed, err := client.Chat.Completions.New(ctx, params)
	check(err == nil, "%v", err)
	var city struct{ Name *string }
	check(json.Unmarshal([]byte(typed.Choices[0].Message.Content), &city) == nil && city.Name != nil, "%v", typed)

	called := ask("lorikeet-demo")
	called.MaxTokens = openai.Int(100)
	called.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")}
	called.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
		Name: "weather", Parameters: openai.FunctionParameters{
			"type": "object", "additionalProperties": false, "required": []string{"city"},
			"properties": map[string]any{"city": map[string]any{"type": "string", "enum": []string{"Paris", "Rome"}}},
		}})}
	answer, err := client.Chat.Completions.New(ctx, called)
	check(err == nil && len(answer.Choices[0].Message.ToolCalls) > 0, "%v %v", err, answer)
	call := answer.Choices[0].Message.ToolCalls[0].Function
	var where struct{ City string }
	check(json.Unmarshal([]byte(call.Arguments), &where) == nil && where.City != "" && call.Name == "weather", "%v", call)

	response, err := client.Responses.New(ctx, responses.ResponseNewParams{Model: "pirate", Temperature: openai.Float(0),
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("What is the capital of France?")}})
	check(err == nil && response.OutputText() == pirate.Choices[0].Message.Content, "%v %v", err, response)
	vectors, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "lorikeet-demo",
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a cat", "a dog"}}})
	check(err == nil && len(vectors.Data) == 2 && len(vectors.Data[0].Embedding) > 8, "%v", err)
	return pirate.Choices[0].Message.Content
}

func other(ctx context.Context, pirate string) {
	config := community.DefaultConfig(key)
	config.BaseURL = url
	answer, err := community.NewClientWithConfig(config).CreateChatCompletion(ctx, community.ChatCompletionRequest{
		Model:    "pirate",
		Messages: []community.ChatCompletionMessage{{Role: "user", Content: "What is the capital of France?"}},
		// The package leaves a zero out, so that the smallest number stands for it.
		Temperature: 1e-45,
	})
	check(err == nil, "%v", err)
	check(answer.Choices[0].Message.Content == pirate, "%v", answer)
}
