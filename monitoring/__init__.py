"""What an operator sees: alerts, dashboards, and the catalogue of all numbers. Nothing here runs in the mesh."""
