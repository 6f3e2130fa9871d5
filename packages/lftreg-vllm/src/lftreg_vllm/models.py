"""The HTTP side, an endpoint plugin: what could be asked for is listed, and names that move are looked up each time.

vLLM loads it where VLLM_PLUGINS names it, beside the resolver: `VLLM_PLUGINS=lftreg,lftreg_models`.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from lftreg_vllm.desk import Desk
from lftreg_vllm.listing import merged
from lftreg_vllm.pinning import App, Pinning, Receive, Scope, Send

LOADING = ("/v1/load_lora_adapter", "/adapters")  # vLLM's own, and the same for SageMaker
REFUSED = "adapters come from the registry: ask for one by its name, and it is loaded"


class Models:
    """Three things: GET /v1/models lists registered adapters, loaded or not; requests are pinned (see pinning.py);
    and what loads any folder that a client names, POST /v1/load_lora_adapter and /adapters, is closed.
    """

    name = "lftreg_models"
    required_tasks = None

    def __init__(self, desk: Desk | None = None) -> None:
        self.desk = desk or Desk()
        self.max_rank: int | None = None
        self.enabled = False

    def attach_router(self, app: FastAPI) -> None:
        """vLLM puts these routes in the place of its own of the same path."""
        app.add_api_route("/v1/models", self.show, methods=["GET"], response_model=None)
        app.add_middleware(Pinning, desk=self.desk)
        app.add_middleware(Closed)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Without an engine, as in vLLM's render server, there is nothing to load adapters into."""
        self.enabled = engine_client is not None and bool(getattr(args, "enable_lora", False))
        self.max_rank = getattr(args, "max_lora_rank", None)

    async def show(self, raw_request: Request) -> JSONResponse:
        handler = raw_request.app.state.openai_serving_models
        shown = (await handler.show_available_models()).model_dump()
        if self.enabled:
            served = handler.model_config.model
            shown["data"] = await merged(self.desk, shown["data"], served, self.max_rank)
        return JSONResponse(content=shown)


class Closed:
    """ASGI middleware: no client makes the server load a folder. As vLLM adds `/adapters` after all plugins, what
    stands before the routes closes it, and not a route in its place.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")).rstrip("/")
            if path in LOADING:
                error = {"message": REFUSED, "type": "ForbiddenError", "param": None, "code": 403}
                await JSONResponse(content={"error": error}, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)
