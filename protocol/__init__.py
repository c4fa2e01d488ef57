"""What is on the wire of an Agent Server: event streams, operations, stream modes, ids, views.

Pure: no IO, no clock, no file, no cassette. Import from the modules; this one re-exports nothing, so that reading
one part never loads another.
"""
