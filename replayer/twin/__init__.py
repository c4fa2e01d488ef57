"""The server's twin: threads, runs, states and waits as they stand at any moment, derived from what was shown."""
