"""What a page raises instead of its content: a trouble told in words, or a way to somewhere else."""

from __future__ import annotations


class Trouble(Exception):
    """What happened and what to do, for a person."""

    def __init__(self, status: int, what: str, remedy: str, retry_after_s: int | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.remedy = remedy
        self.retry_after_s = retry_after_s


class SeeOther(Exception):
    """The browser should go on at another path of ours, with these headers."""

    def __init__(self, path: str, *cookies: tuple[str, str]) -> None:
        super().__init__(path)
        self.path = path
        self.cookies = cookies
