"""The HTTP face: routes, authentication, answers in the client's own dialect."""
