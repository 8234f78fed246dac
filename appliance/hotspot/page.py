"""What the set-up page looks like: two pages and a style, without scripts. Pure.

Responsible for: HTML. No secret is ever put into it, not even one that was just entered. Not for: serving (``web``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

FIELDS = ("wifi", "password", "hidden", "country", "url", "token")
SHOWN_AGAIN = ("wifi", "hidden", "country", "url")

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1b1f; --paper: #fbfbfd; --line: #767680; --deed: #1c4fd6; --wrong: #a8071a; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17171b; --deed: #8fb0ff; --wrong: #ff9a9a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 30rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .5rem 0; }
label { display: block; font-weight: 600; margin-top: 1rem; }
input[type=text], input[type=password], input[type=url] { width: 100%; padding: .7rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: .5rem; }
input[type=checkbox] { width: 1.4rem; height: 1.4rem; vertical-align: middle; margin: 0 .5rem 0 0; }
label.check { font-weight: 400; padding: .4rem 0; }
small { display: block; margin-top: .2rem; }
fieldset { border: 0; border-top: 1px solid var(--line); margin: 1.5rem 0 0; padding: 0; }
legend { font-weight: 600; padding-right: .5rem; }
button { width: 100%; margin: 1.5rem 0; padding: .9rem; font: inherit; font-weight: 600;
  border: 0; border-radius: .5rem; background: var(--deed); color: var(--paper); }
.wrong { border-left: .3rem solid var(--wrong); padding: .5rem .8rem; color: var(--wrong); }
:focus-visible { outline: 3px solid var(--deed); outline-offset: 2px; }
"""


def form(names: Sequence[str], token: str, *, problem: str = "", entered: Mapping[str, str] | None = None) -> str:
    """Write the page with the form. ``entered``: what stood in it when it was refused, for ``problem``."""
    known = {name: escape((entered or {}).get(name, "")) for name in SHOWN_AGAIN}
    wrong = f'<p class="wrong" role="alert" id="problem">{escape(problem)}</p>' if problem else ""
    options = "".join(f'<option value="{escape(name)}"></option>' for name in names)
    checked = " checked" if known["hidden"] else ""
    return _page(
        "Set up your voice appliance",
        f"""<h1>Set up your voice appliance</h1>
{wrong}
<form method="post" action="/" autocomplete="off">
<input type="hidden" name="csrf" value="{escape(token)}">
<label for="wifi">Your Wi-Fi</label>
<input type="text" id="wifi" name="wifi" list="names" value="{known["wifi"]}" required maxlength="32"
 autocapitalize="none">
<datalist id="names">{options}</datalist>
<label for="password">Its password</label>
<input type="password" id="password" name="password" maxlength="64" aria-describedby="open">
<small id="open">Leave it empty for a Wi-Fi without one.</small>
<label class="check"><input type="checkbox" name="hidden" value="yes"{checked}>It does not show its name</label>
<label for="country">Country</label>
<input type="text" id="country" name="country" value="{known["country"]}" maxlength="40" aria-describedby="rules">
<small id="rules">Two letters, such as DE or US: whose Wi-Fi rules hold. Empty: as it was.</small>
<fieldset><legend>Provisioning service</legend>
<small>Empty: as it was.</small>
<label for="url">Address</label>
<input type="text" inputmode="url" id="url" name="url" value="{known["url"]}" maxlength="500" autocapitalize="none">
<label for="token">Enrolment token</label>
<input type="password" id="token" name="token" maxlength="512" aria-describedby="code">
<small id="code">Without one the device says a code for you to approve.</small>
</fieldset>
<button type="submit">Connect</button>
</form>""",
    )


def accepted(name: str) -> str:
    """Write the page that follows a good form."""
    return _page(
        "Connecting",
        f"""<h1>Connecting to {escape(name)}</h1>
<p>This Wi-Fi now goes away. Listen to the device: it says when it is ready, or what is missing.</p>
<p>If it could not join, this Wi-Fi comes back within a minute: join it again, with the same password.</p>""",
    )


def refused(what: str) -> str:
    """Write the page for a request that cannot be taken."""
    return _page(
        "Not possible", f'<h1>Not possible</h1><p class="wrong">{escape(what)}</p><p><a href="/">Again</a></p>'
    )


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"><link rel="icon" href="data:,"></head>
<body><main>
{body}
</main></body></html>
"""
