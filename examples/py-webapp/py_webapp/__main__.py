"""Serve the page on PORT, or 8080: `py-webapp`, or `python -m py_webapp`."""

import os

import uvicorn

from py_webapp.app import app


def main():
    """Serve until the process is asked to end."""
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ.get("PORT") or 8080))


if __name__ == "__main__":
    main()
