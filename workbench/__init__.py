"""What needs both the recorder and the replayer: `demo`, `verify`'s self-replay, and servers run until a signal.

Imports nothing by itself; `cli` imports the module that a command needs.
"""
