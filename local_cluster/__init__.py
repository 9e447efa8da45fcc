"""A real Kubernetes where there is none: clusters, their images, and an API server for tests."""
