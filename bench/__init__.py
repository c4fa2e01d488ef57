"""Measurements of the recorder, the replayer and the cassettes, beside references in the same run: `python -m bench`.

Not installed with the program. One rule: what is measured and what it is compared with take turns, and every number
comes with the spread of its rounds.
"""
