"""The documented import path of `Plugin`, kept until 0.3; it is defined in `affectgpt.plugins.plugin`."""

from affectgpt.plugins.plugin import Plugin as Plugin
