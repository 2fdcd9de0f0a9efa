"""The documented place of `Assistant`, until 0.3; it lives in `affectgpt.inference.assistant`."""

from affectgpt.inference.assistant import Assistant as Assistant
