"""A vLLM engine behind a pipe: one JSON line in, one JSON line out.

The interpreter that has vLLM runs this file. The file imports nothing of this project, so the interpreter may belong to
another environment.

    in   {"engine": {...}}                                              first, the arguments of vllm.LLM
    out  {"ready": version}
    in   {"id": 7, "prompts": [[ids, sampling or scoring], ...], "adapter": folder or null}
                                                                        requests of one chunk, any number of chunks
    out  {"id": 7, "outputs": [...]}                                    when all requests of the chunk are done
    out  {"id": 7, "error": "..."}

Requests of all chunks run in one continuous batch. When standard input ends, because the parent process has ended, the
worker kills its whole session, including the engine's own processes.
"""

import json
import os
import queue
import signal
import sys
import threading


def main() -> None:
    say = _speaker()
    engine_arguments = json.loads(sys.stdin.readline())["engine"]
    chunks: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(chunks,), daemon=True).start()
    import vllm  # type: ignore[import-not-found]

    llm = vllm.LLM(**engine_arguments)
    say({"ready": vllm.__version__})
    _Loop(llm.llm_engine, say).run(chunks)


def _speaker():
    """A function that writes lines to standard output; everything that libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message):
        out.write(json.dumps(message) + "\n")
        out.flush()

    return say


def _listen(chunks) -> None:
    for line in sys.stdin:
        chunks.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)


class _Loop:
    def __init__(self, engine, say):
        self.engine, self.say = engine, say
        self.adapters: dict = {}  # folder -> request for its adapter
        self.waiting: dict = {}  # chunk -> requests that are not done
        self.outputs: dict = {}

    def run(self, chunks) -> None:
        while True:
            while not chunks.empty() or not self.waiting:
                self._begin(chunks.get())
            for output in self.engine.step():
                if output.finished:
                    self._finish(output)

    def _begin(self, chunk) -> None:
        number, begun = chunk["id"], []
        try:
            requests = [self._request(ids, how) for ids, how in chunk["prompts"]]
            adapter = self._adapter(chunk["adapter"])
            for i, (prompt, how) in enumerate(requests):
                self.engine.add_request(f"{number}/{i}", prompt, how, lora_request=adapter)
                begun.append(f"{number}/{i}")
        except Exception as error:  # vLLM raises exceptions of its own for requests that it refuses
            self.engine.abort_request(begun)
            self.say({"id": number, "error": str(error)})
            return
        self.waiting[number] = len(requests)
        self.outputs[number] = [None] * len(requests)
        if not requests:
            self._say_outputs(number)

    def _adapter(self, folder):
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

        if folder is not None and folder not in self.adapters:
            number = len(self.adapters) + 1
            self.adapters[folder] = LoRARequest(f"adapter-{number}", number, folder)
        return self.adapters.get(folder)

    def _request(self, ids, how):
        from vllm import SamplingParams  # type: ignore[import-not-found]
        from vllm.inputs import TokensPrompt  # type: ignore[import-not-found]
        from vllm.sampling_params import (  # type: ignore[import-not-found]
            RequestOutputKind,
            StructuredOutputsParams,
        )

        whole = RequestOutputKind.FINAL_ONLY  # all samples of a request, when the last of them is done
        schema = how.pop("json_schema", None)
        held = StructuredOutputsParams(json=schema) if schema else None
        sampling = SamplingParams(**how, structured_outputs=held, output_kind=whole)
        return TokensPrompt(prompt_token_ids=ids), sampling

    def _finish(self, output) -> None:
        chunk, _, place = output.request_id.partition("/")
        self.outputs[int(chunk)][int(place)] = _plain(output)
        self.waiting[int(chunk)] -= 1
        if not self.waiting[int(chunk)]:
            self._say_outputs(int(chunk))

    def _say_outputs(self, chunk) -> None:
        del self.waiting[chunk]
        self.say({"id": chunk, "outputs": self.outputs.pop(chunk)})


def _plain(output):
    """The samples of a prompt in order, and the log-probs of the prompt's own tokens if they were asked for."""
    return {
        "samples": [
            {
                "token_ids": list(sample.token_ids),
                "logprobs": [step[t].logprob for t, step in zip(sample.token_ids, sample.logprobs or (), strict=False)],
                "text": sample.text,
                "finish_reason": sample.finish_reason,
                "stop_reason": sample.stop_reason,
            }
            for sample in sorted(output.outputs, key=lambda sample: sample.index)
        ],
        "prompt_logprobs": [
            None if step is None else step[t].logprob
            for t, step in zip(output.prompt_token_ids, output.prompt_logprobs or (), strict=False)
        ],
    }


if __name__ == "__main__":
    main()
