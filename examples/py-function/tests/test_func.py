"""Run with `python -m pytest`, in an environment that has the project's dependencies and pytest."""

import asyncio

from function import new


def ask(query=b"", **environment):
    """Status and body of the answer to one request."""
    sent = []

    async def send(message):
        sent.append(message)

    function = new()
    function.start(environment)
    asyncio.run(function.handle({"type": "http", "path": "/", "query_string": query}, None, send))
    return sent[0]["status"], sent[1]["body"].decode()


def test_everybody_is_greeted():
    assert ask() == (200, "<p>Hello, world!</p>\n")


def test_one_is_greeted_and_names_are_escaped():
    assert ask(b"name=%3Cb%3E", GREETING="Welcome") == (200, "<p>Welcome, &lt;b&gt;!</p>\n")
