-- Which of the configured classes a tenant's limits are: `[limits.class.NAME]`, or plain `[limits]`.
ALTER TABLE tenant ADD COLUMN class TEXT NOT NULL DEFAULT 'default';
