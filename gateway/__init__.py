"""The REST face of the mesh: transcodes HTTP and JSON to gRPC from a descriptor set, and knows no domain.

- A path to a rule: scanner, parser, percent, router; routes takes the rules from the descriptor set.
- A request to a message: fields, parameters, json_text, body, masks; binding puts them together.
- The call and its end: metadata, upstream, outcome, rendering; refusal is the one shape of every failure.
- HTTP around it: listener (limits before any handler), server, cors; process builds it all from settings.
"""
