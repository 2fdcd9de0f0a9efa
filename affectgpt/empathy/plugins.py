"""The documented place of `Plugin`, until 0.3; it lives in `affectgpt.plugins.plugin`."""

from affectgpt.plugins.plugin import Plugin as Plugin
