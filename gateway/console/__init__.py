"""The operator's console at `/console`: a page without a build step, whose every act is an rpc of the REST API."""
