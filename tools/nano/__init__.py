"""Builds the embedded miniature model and the demo voice from espeak-ng speech. A maintainer's tool."""
