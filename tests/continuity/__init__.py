"""Nothing said is lost or told twice, wherever a session breaks: a model of the server keeps the books."""
