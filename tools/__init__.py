"""What maintainers build the project's assets with; not part of the installed package."""
