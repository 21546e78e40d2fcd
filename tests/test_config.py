from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import config
from latbench.arrivals import Arrivals
from latbench.config import MAX_SPEED, RunConfig
from latbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rate_hz"),
    [
        ("1", 1),
        ("1000", 1000),
        (" 1000 ", 1000),
        ("1_000", 1000),
        ("1,000", 1000),
        ("1e3", 1000),
        ("2500.0", 2500),
        ("1,000,000", 1_000_000),
    ],
)
def test_a_tick_rate_is_a_whole_number(text: str, rate_hz: int) -> None:
    assert config.parse_tick_rate(text) == rate_hz


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a number"),
        ("fast", "is not a number"),
        ("0x10", "is not a number"),
        ("0", "is not between 1 and 1,000,000"),
        ("0.5", "is not between 1 and 1,000,000"),
        ("-5", "is not between 1 and 1,000,000"),
        ("1000001", "is not between 1 and 1,000,000"),
        ("inf", "is not between 1 and 1,000,000"),
        ("nan", "is not between 1 and 1,000,000"),
        ("1e999", "is not between 1 and 1,000,000"),
        ("1.5", "is not a whole number"),
    ],
)
def test_any_other_tick_rate_is_a_usage_error_that_says_why(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.parse_tick_rate(text)
    assert caught.value.message == f"tick rate {text!r} {says}"
    assert caught.value.hint == "write --tick-rate 1000"


@pytest.mark.parametrize(
    ("text", "speed"),
    [("1", 1.0), ("0.001", 0.001), ("2.5", 2.5), ("1e6", 1e6), ("max", MAX_SPEED), (" MAX ", 0.0)],
)
def test_a_speed_is_a_factor_or_max(text: str, speed: float) -> None:
    assert config.parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "0", "-1", "0.0009", "1000001", "nan", "inf", "x", "maximum"])
def test_any_other_speed_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a factor") as caught:
        config.parse_speed(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "coalesce_ns"),
    [
        ("0", 0),
        ("1", 1_000_000),
        ("0.25", 250_000),
        (" 2.5 ", 2_500_000),
        ("0.000001", 1),
        ("1e-3", 1000),
        ("1000", 1_000_000_000),
    ],
)
def test_what_is_waited_for_more_ticks_is_a_number_of_milliseconds(
    text: str, coalesce_ns: int
) -> None:
    assert config.parse_coalesce_ns(text) == coalesce_ns


@given(st.integers(0, 1_000_000_000))
def test_every_nanosecond_of_it_counts(coalesce_ns: int) -> None:
    text = f"{coalesce_ns // 1_000_000}.{coalesce_ns % 1_000_000:06d}"
    assert config.parse_coalesce_ns(text) == coalesce_ns


@pytest.mark.parametrize("text", ["", "x", "1ms", "-1", "-0.1", "1000.1", "1001", "nan", "inf"])
def test_any_other_wait_for_more_ticks_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.parse_coalesce_ns(text)
    assert caught.value.message == (
        f"--coalesce {text!r} is not a number of milliseconds from 0 to 1,000"
    )
    assert caught.value.hint == "write --coalesce 1"


@pytest.mark.parametrize("client", config.KAFKA_CLIENTS)
def test_a_kafka_client_is_chosen_by_its_name(client: str) -> None:
    assert config.parse_choice(client, "--kafka-client", config.KAFKA_CLIENTS) == client


def test_a_kafka_client_that_is_none_is_a_usage_error_that_names_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        config.parse_choice("aiokafka", "--kafka-client", config.KAFKA_CLIENTS)
    told = f"{caught.value.message} {caught.value.hint}"
    assert all(name in told for name in ("'aiokafka'", *config.KAFKA_CLIENTS))


def test_the_fast_client_is_the_one_that_is_taken_unasked() -> None:
    assert RunConfig().kafka_client == config.KAFKA_CLIENTS[0] == "librdkafka"


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("NIFTY", ("NIFTY",)),
        ("NIFTY,TCS", ("NIFTY", "TCS")),
        (" NIFTY , TCS ,", ("NIFTY", "TCS")),
        ("BTC-USD,ÖL,日経", ("BTC-USD", "ÖL", "日経")),
        ("A" * 32, ("A" * 32,)),
    ],
)
def test_symbols_are_separated_by_commas(text: str, symbols: tuple[str, ...]) -> None:
    assert config.parse_symbols(text) == symbols


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names none"),
        (" , ,", "names none"),
        ("A" * 33, "over 32 characters"),
        ("A B", "has a blank"),
        ('A"', "a quote"),
        ("A\\", "a backslash"),
        ("A\x01B", "has a blank"),
        ("A,B,A", "symbol 'A' is named twice"),
    ],
)
def test_symbols_that_no_message_could_carry_are_usage_errors(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        config.parse_symbols(text)


names = st.text(
    st.characters(exclude_characters=' \t,"\\', exclude_categories=("Cc", "Cs", "Z")),
    min_size=1,
    max_size=32,
)


@given(st.lists(names, min_size=1, max_size=8, unique=True))
def test_any_names_without_blanks_and_quotes_are_symbols(symbols: list[str]) -> None:
    assert config.parse_symbols(",".join(symbols)) == tuple(symbols)


@pytest.mark.parametrize("text", ["tick-data", "a", "A.b_C-9", "x" * 249, "..."])
def test_a_topic_is_what_kafka_takes(text: str) -> None:
    assert config.parse_topic(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", "a b", "a/b", "ö", "x" * 250, "a\n"])
def test_any_other_topic_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a Kafka topic name"):
        config.parse_topic(text)


def test_properties_are_split_at_the_first_equals_sign_and_the_last_one_counts() -> None:
    items = ["linger.ms=5", " sasl.jaas.config = a=b ", "linger.ms=7", "client.id="]
    assert config.parse_properties(items, "producer") == {
        "linger.ms": "7",
        "sasl.jaas.config": "a=b",
        "client.id": "",
    }
    assert config.parse_properties([], "producer") == {}


@pytest.mark.parametrize("item", ["", "linger.ms", "=5", " =5"])
def test_what_is_not_key_and_value_is_a_usage_error(item: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.parse_properties(["a=b", item], "consumer")
    assert caught.value.message == f"--consumer {item!r} is not key=value"


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("1,0", (1, 0)), (" 3 , 3,", (3, 3)), ("", ())]
)
def test_cpus_are_pinned_in_the_order_given(text: str, cpus: tuple[int, ...]) -> None:
    assert config.parse_cpus(text, {0, 1, 3}) == cpus


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", "is not a list of CPU numbers"),
        ("0-1", "is not a list of CPU numbers"),
        ("0,2", "CPU 2 is not there to pin to"),
        ("-1", "CPU -1 is not there to pin to"),
    ],
)
def test_a_cpu_that_is_not_there_is_a_usage_error(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        config.parse_cpus(text, {0, 1, 3})


def test_the_cpus_that_are_there_are_listed() -> None:
    with pytest.raises(UsageError) as caught:
        config.parse_cpus("9", {10, 2, 0})
    assert caught.value.hint == "this machine has 0,2,10"


SECRETS = (
    "sasl.password",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "ssl.certificate.pem",
    "ssl.ca.pem",
    "sasl.jaas.config",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
)
PLAIN = ("linger.ms", "sasl.username", "security.protocol", "ssl.key.location", "client.id")


@pytest.mark.parametrize("side", ["producer", "consumer"])
def test_without_secrets_only_secrets_are_blotted_out(side: str) -> None:
    given_ = {key: f"value of {key}" for key in (*SECRETS, *PLAIN)}
    run = RunConfig(**{side: given_, "name": "kept"})  # type: ignore[arg-type]
    told = getattr(run.without_secrets(), side)
    assert told == {
        **dict.fromkeys(SECRETS, "[secret]"),
        **{key: f"value of {key}" for key in PLAIN},
    }
    assert getattr(run, side) == given_
    # and nothing else has changed
    assert msgspec.structs.replace(run.without_secrets(), **{side: given_}) == run


def test_compiled_code_is_the_default() -> None:
    """Also of a result file from before: it must not tell of what it never knew."""
    assert RunConfig().compiled
    assert msgspec.json.decode(b"{}", type=RunConfig).compiled


def test_a_config_knows_its_source_its_broker_and_its_schedule() -> None:
    simulated = RunConfig()
    assert (simulated.is_replay, simulated.is_embedded) == (False, True)
    replay = RunConfig(source="feed.ws", broker="localhost:9092", speed=MAX_SPEED)
    assert (replay.is_replay, replay.is_embedded) == (True, False)
    assert replay.as_fast_as_possible
    assert not RunConfig(source="feed.ws").as_fast_as_possible
    assert not RunConfig(speed=MAX_SPEED).as_fast_as_possible  # a simulation has a schedule


@given(
    st.builds(
        RunConfig,
        tick_rate_hz=st.integers(1, 10**6),
        duration_ns=st.none() | st.integers(1, 10**15),
        symbols=st.lists(names, min_size=1, max_size=3).map(tuple),
        producer=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        speed=st.floats(0.0, 1e6),
        linger_ms=st.floats(0.0, 1e3),
        kafka_client=st.sampled_from(config.KAFKA_CLIENTS),
        coalesce_ns=st.integers(0, 10**9),
        spin=st.booleans(),
        realtime=st.booleans(),
        compiled=st.booleans(),
        arrivals=st.sampled_from(Arrivals),
        pin=st.lists(st.integers(0, 999), max_size=3).map(tuple),
    )
)
def test_a_config_comes_back_from_json_as_it_was(run: RunConfig) -> None:
    assert msgspec.json.decode(msgspec.json.encode(run), type=RunConfig) == run


def test_an_embedded_broker_that_is_there_is_named_by_its_address() -> None:
    config = RunConfig(broker="embedded@127.0.0.1:9092")
    assert config.is_embedded
    assert config.kept_broker == "127.0.0.1:9092"


@pytest.mark.parametrize("broker", ["embedded", "localhost:9092"])
def test_no_other_broker_is_a_kept_one(broker: str) -> None:
    assert RunConfig(broker=broker).kept_broker == ""


def test_words_of_a_command_line_are_shown_without_their_secrets() -> None:
    words = (
        *("--producer", "sasl.password=hunter2", "--consumer=sasl.password=hunter2"),
        *("--producer", "linger.ms=5", "--producer=linger.ms=6", "--name", "secret", "--linger=1"),
        *("env", "KAFKA_PASSWORD=hunter2", "a=b=c"),
    )
    assert config.words_without_secrets(words) == (
        *("--producer", "sasl.password=[secret]", "--consumer=sasl.password=[secret]"),
        *("--producer", "linger.ms=5", "--producer=linger.ms=6", "--name", "secret", "--linger=1"),
        *("env", "KAFKA_PASSWORD=[secret]", "a=b=c"),
    )
    for key in SECRETS:
        assert config.words_without_secrets([f"{key}=x=y"]) == (f"{key}=[secret]",)


def test_properties_of_both_clients_come_from_items_and_files(tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("# who we are\n\nsasl.username = me\n  sasl.password=a=b # c\n! old style\n")
    found = config.read_properties(["a=1", str(file), "b=2"])
    assert found == ["a=1", "sasl.username = me", "sasl.password=a=b # c", "b=2"]
    assert config.parse_properties(found, "kafka") == {
        "a": "1", "sasl.username": "me", "sasl.password": "a=b # c", "b": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not key=value, and no file that can be read: no such file"),
        (b"sasl.username=me\nnonsense\n", "line 2 of"),
        (b"\xff\xfe\x00", "it is no text"),
    ],
)
def test_a_file_of_properties_that_is_none_is_refused(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "kafka.properties"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        config.read_properties([str(file)])
    assert caught.value.hint
