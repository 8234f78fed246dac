"""What is wrong with this appliance and what to do: looking, wording, and the support bundle.

Beside the running daemon, which is only asked for its status. Nothing here changes anything.
"""
