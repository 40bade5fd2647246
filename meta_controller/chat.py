"""What all chat models of a provider share: a question is one prompt, its reply one completion."""

from __future__ import annotations

from abc import ABC, abstractmethod

from meta_controller.language_model import Completion, Prompt, Question, Reply
from meta_controller.prompt import build_prompt
from meta_controller.wire import to_reply


class ChatModel(ABC):
    """A model asked over HTTP; subclasses send a prompt exactly once and retry nothing."""

    provider: str

    def __init__(self, model: str, base_url: str) -> None:
        self.model = model
        self.base_url = base_url
        self.who = f"{self.provider} {model}"

    def ask(self, question: Question) -> Reply:
        """Ask exactly once.

        Raises:
            LanguageModelError: Retryable, Fatal or NoVerdict.
        """
        return to_reply(question, self.complete(build_prompt(question)), self.who)

    @abstractmethod
    def complete(self, prompt: Prompt) -> Completion:
        """Send a prompt exactly once.

        Raises:
            LanguageModelError: Retryable, Fatal or NoVerdict.
        """
