"""The owner's web page: approve codes, steer devices, tokens and profiles, see usage and audit.

Plain HTML made here; it works without JavaScript, and has none. Each room is one part of the page; what they share
is ``routes`` (every answer's headers, errors as pages), ``visits`` (who asks, and whether a form is ours) and
``rendering``. Not for: the rules (``fleet``, ``tokens``, ``profiles``, ``authorizations``, ``owner_sessions``).
"""
