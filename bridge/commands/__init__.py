"""The operator's commands, clients of `BusService`: for people as tables, with `--json` for programs."""
