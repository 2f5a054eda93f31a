"""The application: a page out of a template, and the files of static/ that it names."""

import platform
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

HERE = Path(__file__).parent
TEMPLATES = Jinja2Templates(HERE / "templates")


async def page(request):
    """Say which Python this is, and for which machine."""
    values = {"python": platform.python_version(), "machine": platform.machine()}
    return TEMPLATES.TemplateResponse(request, "page.html", values)


async def health(request):
    """Tell a prober that all is well."""
    del request
    return PlainTextResponse("ok")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/health", health),
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ]
)
