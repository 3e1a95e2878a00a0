// job_samples
