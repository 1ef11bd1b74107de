package api

import _ "embed"

// OpenAPI is the definition of the API, as GET /v1/openapi.yaml answers it.
//
//go:embed openapi.yaml
var OpenAPI []byte
