"""Kubernetes: hilum's commands as RayJobs of a cluster where the chart is installed."""
