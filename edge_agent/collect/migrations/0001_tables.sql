-- Tables of the collector. {partitioned} is PARTITION BY RANGE (at), or nothing where TimescaleDB makes hypertables of them.
--
-- at: the time that a row counts for, and what tables are partitioned by. It is start, unless the device did not know the
-- time (clock is unsynced) or is more than a day ahead: then it is received, and start is kept as it was published.

-- Exactly once. A unique constraint of a partitioned table would have to contain at, and the same message may come again
-- with another start, once the device knows the time; so the key has a table of its own.
CREATE TABLE keys (
  device text NOT NULL,
  boot_id text NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  synced boolean NOT NULL,
  PRIMARY KEY (device, boot_id, seq)
) WITH (fillfactor = 95);
CREATE INDEX keys_at ON keys USING brin (at);

CREATE TABLE windows (
  device text NOT NULL,
  boot_id text NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  received timestamptz NOT NULL,
  site text,
  labels jsonb,
  start timestamptz NOT NULL,
  seconds double precision NOT NULL,
  clock text NOT NULL,
  replayed boolean NOT NULL,
  merged integer,
  withheld double precision,
  people_max integer,
  people_mean double precision,
  person_seconds double precision,
  tracks integer,
  dominant text,
  neutral double precision,
  happiness double precision,
  surprise double precision,
  sadness double precision,
  anger double precision,
  disgust double precision,
  fear double precision,
  contempt double precision,
  valence double precision,
  confidence double precision,
  readings integer,
  bursts jsonb,
  attention_ratio double precision,
  attention_seconds double precision,
  attention_per_person double precision,
  attention_by_eyes double precision,
  stays_count integer,
  stays_mean double precision,
  stays_longest double precision,
  lift jsonb,
  trend jsonb,
  fused jsonb,
  unknown jsonb,
  language jsonb,
  voice_arousal double precision,
  voice_seconds double precision,
  voice_turns integer,
  identity jsonb,
  measures jsonb,
  video_fps double precision NOT NULL,
  analysed_fps double precision NOT NULL,
  coverage_video double precision NOT NULL,
  coverage_audio double precision NOT NULL,
  dropped integer NOT NULL,
  flags text[] NOT NULL,
  more jsonb
) {partitioned};
CREATE INDEX windows_device ON windows (device, at);
CREATE INDEX windows_at ON windows USING brin (at);
CREATE INDEX windows_bursts ON windows (at) WHERE bursts IS NOT NULL;
-- Windows that an outbox merged are few, and looked up for every other one.
CREATE INDEX windows_merged ON windows (device, boot_id, start) WHERE merged IS NOT NULL;

CREATE TABLE events (
  device text NOT NULL,
  boot_id text NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  received timestamptz NOT NULL,
  site text,
  labels jsonb,
  start timestamptz NOT NULL,
  seconds double precision NOT NULL,
  clock text NOT NULL,
  replayed boolean NOT NULL,
  kind text NOT NULL,
  label text NOT NULL,
  score double precision NOT NULL,
  text text,
  name text,
  more jsonb
) {partitioned};
CREATE INDEX events_device ON events (device, at);
CREATE INDEX events_kind ON events (kind, label, at);

-- health as it came; at is when it was received. A sample: what was published while no collector ran is not there.
CREATE TABLE health (
  device text NOT NULL,
  at timestamptz NOT NULL,
  site text,
  labels jsonb,
  status text NOT NULL,
  problems text[] NOT NULL,
  notices text[] NOT NULL,
  uptime_s bigint NOT NULL,
  pending bigint,
  produced bigint,
  acked bigint,
  merged_away bigint,
  dropped bigint,
  dead_lettered bigint,
  outbox_bytes bigint,
  rss_mb double precision,
  cpu_s double precision,
  temperature_c double precision
) {partitioned};
CREATE INDEX health_device ON health (device, at);

-- The latest of every device.
CREATE TABLE devices (
  device text PRIMARY KEY,
  site text,
  labels jsonb,
  first_seen timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  status text,
  status_at timestamptz,
  name text,
  version text,
  info jsonb,
  info_at timestamptz,
  health jsonb,
  health_at timestamptz,
  gaps jsonb,
  gaps_at timestamptz
);

-- What could not be stored. A message that comes again counts in times.
CREATE TABLE rejected (
  digest uuid PRIMARY KEY,
  received timestamptz NOT NULL,
  device text,
  topic text NOT NULL,
  reason text NOT NULL,
  size integer NOT NULL,
  payload bytea,
  times bigint NOT NULL DEFAULT 1
);
CREATE INDEX rejected_received ON rejected (received);

-- Where days begin at a site, other than in UTC; written from [timezones] of the configuration.
CREATE TABLE sites (
  site text PRIMARY KEY,
  timezone text NOT NULL
);

-- What was chosen when the schema was made: partition (day or month) and engine (native or timescale).
CREATE TABLE parameters (
  name text PRIMARY KEY,
  value text NOT NULL
);
