"""Files of every shape, hostile and clumsy: secrets are found wherever TOML lets them stand, and nothing else."""

from __future__ import annotations

import copy
import tomllib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.first_boot import erasing, spans
from appliance.first_boot.text import Text, decode
from tests.first_boot.machine import Machine

NASTY = st.text(st.sampled_from("ab \\\"'#=[]{},.*\tü€\U0001f600-_\x7f"), max_size=12)
BASIC = str.maketrans({"\\": "\\\\", '"': '\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r", "\x7f": "\\u007f"})
QUOTED_KEYS = ['"password"', r'"pass\u0077ord"', "'enrolment_token'"]
SECRET = "s3cretS3cret%d!"


@st.composite
def strings(draw: st.DrawFn, value: str) -> str:
    """Write ``value`` as a TOML string in one of the ways that can hold it."""
    ways = [
        f'"{value.translate(BASIC)}"',
        f'"""{value.translate(BASIC)}"""',
        '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"',
    ]
    if "'" not in value and "\x7f" not in value:
        ways += [f"'{value}'", f"'''{value}'''"]
    return draw(st.sampled_from(ways))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A TOML text, and the secrets in it."""
    lines, found, end = [], [], draw(st.sampled_from(["\n", "\r\n"]))
    blank = st.sampled_from(["", " ", "  \t"])
    for number in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["secret", "inline", "plain", "comment", "array", "quoted key"]))
        secret = SECRET % number
        space, other = draw(blank), draw(strings(draw(NASTY)))
        tail = draw(st.sampled_from(["", f"{space}# {secret}", "# 'x", '# """']))
        if kind != "comment":
            lines.append(f"{space}[t{number}]{space}")
        if kind == "secret":
            key = draw(st.sampled_from(sorted(spans.SECRET_KEYS)))
            lines.append(f"a.{key}{space}={space}{draw(strings(secret))}{tail}")
            found.append(secret)
        elif kind == "inline":
            lines.append(f"x = [{{ name = {other}, password = {draw(strings(secret))} }}, {{}}]")
            found.append(secret)
        elif kind == "quoted key":
            lines.append(f"{draw(st.sampled_from(QUOTED_KEYS))} = {draw(strings(secret))}{tail}")
            found.append(secret)
        elif kind == "array":
            lines.append(f"x = [{space}{end}# no ' end{end}{other}, 1979-05-27T07:32:00Z,{end}]")
        elif kind == "plain":
            lines.append(f"passwords = {other}")
        else:
            lines.append(f"#{draw(NASTY)}".replace("\x7f", ""))
    return end.join(lines) + end, found


def masked(tree: object) -> object:
    """What is left of a parsed text when its secrets are erased."""
    if isinstance(tree, dict):
        return {
            k: spans.ERASED if k in spans.SECRET_KEYS and isinstance(v, str) and v else masked(v)
            for k, v in tree.items()
        }
    return [masked(item) for item in tree] if isinstance(tree, list) else tree


@given(documents())
@settings(max_examples=400, deadline=None)
def test_only_secrets_are_erased_and_all_of_them(document: tuple[str, list[str]]) -> None:
    text, secrets = document
    before = tomllib.loads(text)
    erased = spans.without_secrets(text)
    assert tomllib.loads(erased) == masked(copy.deepcopy(before))
    for secret in secrets:
        assert secret not in erased
        assert "".join(f"\\U{ord(c):08x}" for c in secret) not in erased
    assert spans.without_secrets(erased) == erased
    assert erased.count("\n") == text.count("\n")
    assert erased.count("#") >= text.count("#") - sum(text.count(secret) for secret in secrets)


@given(documents(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]))
@settings(max_examples=150, deadline=None)
def test_a_file_is_known_again_in_every_encoding(document: tuple[str, list[str]], encoding: str) -> None:
    data = document[0].encode(encoding)
    if encoding == "utf-16-be":
        data = b"\xfe\xff" + data
    text = decode(data)
    assert text.encode(text.text) == data
    taken = erasing.knowing(text)
    assert taken.whole == erasing.digest(data)
    assert not erasing.is_half_erased(data, taken) or not document[1]
    erased = text.encode(spans.without_secrets(text.text))
    assert taken.erased == erasing.digest(erased)


def test_what_is_commented_out_is_erased_too() -> None:
    text = '# password = "old one 1"\n# the token vet_abcdefgh1234 was used\n# password = "short"\nname = "x"\n'
    expected = '# password = "***"\n# the token *** was used\n# password = "short"\nname = "x"\n'
    assert spans.without_secrets(text) == expected


def test_a_name_that_equals_the_password_stays() -> None:
    text = "[[wifi]]\nname = 'same same'\npassword = 'same same'\n"
    assert spans.without_secrets(text) == "[[wifi]]\nname = 'same same'\npassword = '***'\n"


@given(st.binary(max_size=400) | documents().map(lambda d: d[0].encode()))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_whatever_stop_the_start(tmp_path_factory: object, data: bytes) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine") / "m")  # type: ignore[attr-defined]  # pytest's factory
    machine.write(data)
    found = machine.boot()
    assert found.settings in ("taken", "refused")
    if found.settings == "refused":
        assert machine.settings() == {}
        assert machine.file.read_bytes() == data
        assert found.problem
        assert "\n" not in found.problem


def test_text_comes_back_to_the_same_bytes() -> None:
    text = Text("aü", "utf-16-le", b"\xff\xfe")
    assert text.offset(2) == 6
