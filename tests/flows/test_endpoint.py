"""A run whose candidates come from an endpoint."""

from hasse.data.records import Candidate, Judgement, PartialOrder, TrainingExample
from hasse.pipeline.store import Store
from tests.stages.chat_server import Act, ChatServer, choices


def test_candidates_from_an_endpoint_are_judged_ordered_and_trained_on(hasse, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    labels = hasse.tiny["task"]["labels"]
    body = choices(*[f"So it is.\nlabel: {label}" for label in labels], "It is")
    body["choices"][0]["finish_reason"] = "length"
    with ChatServer(lambda a: Act(body=body)) as server:
        group = {"sampler": "openai", "model": "m", "num_samples": 4, "max_tokens": 8}
        endpoint = {"base_url": server.url, "api_key_variable": "CHAT_KEY"}
        tiny = hasse.tiny | {"generate": {"groups": [{"sampler": "dataset"}, group | endpoint]}}
        tiny["train"] = tiny["train"] | {"steps": 1, "arms": {"sft": {"method": "sft"}}}
        hasse.write(tiny)
        steps = hasse.run()
        assert len(server.asked) == 24
        assert hasse.run()["generate"]["cached"]
        assert len(server.asked) == 24
    store = Store(hasse.store)
    found = {name: store.resolve(steps[name]["ref"]) for name in ("generate", "judge", "order", "examples")}
    made = [c for c in found["generate"].records(Candidate) if c.source == "m"]
    assert [c.status for c in made] == ["ok", "ok", "ok", "truncated"] * 24
    judged = {(j.prompt_id, j.candidate_id): j for j in found["judge"].records(Judgement)}
    assert [judged[c.prompt_id, c.candidate_id].label for c in made] == [*labels, None] * 24
    for order in found["order"].records(PartialOrder):
        assert len(order.candidate_ids) == 5
        assert len(order.pairs) == 2 * 3  # the expert's answer and the right one above three wrong ones
    for example in found["examples"].records(TrainingExample):
        ends = [completion.token_ids[-1] for completion in example.completions]
        assert len({*ends[:4]}) == 1
        assert ends[4] != ends[0]
