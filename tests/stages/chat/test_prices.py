"""Where a price comes from, and that an unknown one is never nothing."""

import pytest

from hasse.data.errors import InputError
from hasse.stages.chat.money.prices import VARIABLE, known_price, price_of
from hasse.stages.chat.settings import ChatSettings, Price

REMOTE = {"model": "m", "base_url": "https://example.org/v1"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def users(tmp_path):
    path = tmp_path / ".config" / "hasse" / "prices.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("m: {input: 1, output: 2}\nown: {free: true}\n")
    return path


def test_the_recipe_s_price_goes_before_the_user_s(users, monkeypatch, tmp_path):
    assert price_of(ChatSettings(**REMOTE)) == Price(input=1, output=2)
    assert price_of(ChatSettings(**REMOTE, prices={"m": Price(input=3, output=4)})).input == 3
    assert price_of(ChatSettings(**{**REMOTE, "model": "own"})).free
    other = tmp_path / "other.yaml"
    other.write_text("m: {input: 7, output: 7}\n")
    monkeypatch.setenv(VARIABLE, str(other))
    assert price_of(ChatSettings(**REMOTE)).input == 7


@pytest.mark.parametrize(
    "base_url", ["https://example.org/v1", "http://192.168.0.2:8000/v1", "http://localhost.x.org", None]
)
def test_without_a_price_nothing_is_asked(base_url):
    with pytest.raises(InputError, match=r"price of the model 'm' is not known \(known: none\).*prices\.yaml"):
        price_of(ChatSettings(model="m", base_url=base_url))


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:1"])
def test_a_server_on_this_machine_is_free_unless_money_has_a_cap(host):
    settings = ChatSettings(model="m", base_url=f"http://{host}/v1")
    assert price_of(settings).free
    assert known_price(settings.model_copy(update={"budget_usd": 1.0})) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("m: {input: 1}", "a price is `input` and `output`"), ("- m", "must be a mapping"), ("m: {cost: 1}", "'cost'")],
)
def test_a_file_that_is_wrong_is_named(users, text, message):
    users.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        price_of(ChatSettings(**REMOTE))
    assert "prices.yaml" in str(caught.value)


def test_a_file_named_in_vain_is_an_error(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/no/such/file")
    with pytest.raises(InputError, match="HASSE_PRICES names /no/such/file"):
        price_of(ChatSettings(**REMOTE))
