"""From a request to its answer, as data: one function per operation of the server."""
