"""The OpenAPI 3.1 document of a descriptor set, and the page that shows it.

- comments: what the protos say about their elements.
- schemas: the ProtoJSON of messages as JSON Schema.
- errors: the failures there are.
- operations: a rule as an operation with its parameters, body and answers.
- document: the whole. pages: `/openapi.json`, and `/docs` with the viewer.
"""
