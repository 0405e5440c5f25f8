"""The worked example of an event in two versions: the steps of docs/event-versions.md, walked in a copy."""
