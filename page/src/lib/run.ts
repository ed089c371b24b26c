import {stream} from "./api.ts";
import {addChunk, emptyAnswer, type Answer, type ChatRequest, type Chunk} from "./completion.ts";

// complete sends a chat completion and calls show with the answer as it comes, once a frame at most and at last when it is
// complete. It throws the server's error, or an AbortError; show has then had all that came before.
export async function complete(request: ChatRequest, signal: AbortSignal, show: (answer: Answer) => void, credentials: RequestCredentials = "same-origin"): Promise<Answer> {
  let answer = emptyAnswer(performance.now());
  let frame = 0;
  const draw = (): void => {
    frame = 0;
    show(answer);
  };
  const body = {...request, stream: true, stream_options: {include_usage: true}};
  try {
    for await (const chunk of stream<Chunk>("/v1/chat/completions", body, signal, credentials)) {
      answer = addChunk(answer, chunk, performance.now());
      if (frame === 0) frame = requestAnimationFrame(draw);
    }
  } finally {
    cancelAnimationFrame(frame);
    draw();
  }
  return answer;
}
