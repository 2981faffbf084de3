"""The double of `state.ModelSource`: hands out given chat models and remembers who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.errors import NoModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from aideon_agents.state import Context, ModelRequest, Role


class GivenModels:
    """Gives each role the chat model that a test chose for it.

    Args:
        default: For every role without its own; None: such a role has no model.
        roles: Chat models by role.
        window: Tokens that they take; None: unknown.
    """

    def __init__(
        self,
        default: BaseChatModel | None = None,
        roles: Mapping[Role, BaseChatModel] | None = None,
        *,
        window: int | None = None,
    ) -> None:
        self._tokens = window
        self._default = default
        self._roles = dict(roles or {})
        self.requests: list[ModelRequest] = []
        """Every request so far, in order."""

    def chat(self, request: ModelRequest, context: Context) -> BaseChatModel:  # noqa: ARG002 - the protocol's
        """Hand out the role's chat model.

        Args:
            request: What the node asks for.
            context: What the run is given.

        Returns:
            The chat model itself, not a chain.

        Raises:
            NoModel: The role has none.
        """
        self.requests.append(request)
        model = self._roles.get(request.role, self._default)
        if model is None:
            raise NoModel(f"the test gave no chat model for the role {request.role}")
        return model

    def window(self, request: ModelRequest, context: Context) -> int | None:  # noqa: ARG002 - the protocol's
        """How many tokens the models take, as the test said.

        Args:
            request: What the node asks for.
            context: What the run is given.

        Returns:
            Tokens; None: unknown.
        """
        return self._tokens
