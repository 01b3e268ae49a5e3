"""Parts of scripts/demo."""
