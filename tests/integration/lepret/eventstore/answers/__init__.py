"""What an EventStoreDB answered to some two thousand questions, and the means to ask them again.

The text files have a step each under ``[its name]``: commands, which `scene` carries out, and
indented below each the answer of EventStoreDB 23.10.8, as JSON in the terms of `telling`. No answer
is written down for what merely succeeded. ``differences.txt`` has the answers that the embedded
event store gives on purpose instead: in the same form, with the number of each command in its step.
"""
