-- Views for dashboards and reports: <subject>_by_hour (per device), <subject>_by_day (per device, days of the site's time
-- zone) and <subject>_by_site (all devices of a site, per day).

-- Windows that count: without those that are part of a merged one, because both were delivered. A merged window has a key
-- of its own, so its parts are known by their time: their middle lies in it. (The middle, because the time of the parts and
-- of the whole may differ by what the clock was corrected meanwhile.)
CREATE VIEW counted AS
SELECT w.*, coalesce(s.timezone, 'UTC') AS timezone
FROM windows w
LEFT JOIN sites s ON s.site = w.site
WHERE NOT EXISTS (
  SELECT FROM windows m
  WHERE m.merged IS NOT NULL
    AND m.device = w.device
    AND m.boot_id = w.boot_id
    AND m.clock = w.clock
    AND m.merged > coalesce(w.merged, 1)
    AND w.start + make_interval(secs => w.seconds / 2) >= m.start
    AND w.start + make_interval(secs => w.seconds / 2) < m.start + make_interval(secs => m.seconds)
);

CREATE VIEW bursts AS
SELECT c.site, c.device, c.at, c.timezone, c.seconds AS window_s, b.label, b.count, b.peak, b.seconds
FROM counted c
CROSS JOIN LATERAL jsonb_to_recordset(c.bursts) AS b (label text, count bigint, peak double precision, seconds double precision)
WHERE c.bursts IS NOT NULL;

CREATE VIEW gaps AS
SELECT d.device, d.site, d.gaps_at, g.boot_id, g.first_seq, g.last_seq, g.start, g."end", g.count, g.reason
FROM devices d
CROSS JOIN LATERAL jsonb_to_recordset(d.gaps -> 'gaps') AS g (
  boot_id text, first_seq bigint, last_seq bigint, start timestamptz, "end" timestamptz, count bigint, reason text
);

DO $make$
DECLARE
  subject record;
  grain record;
BEGIN
  FOR subject IN
    SELECT * FROM (VALUES
      -- People; watched_s are the seconds in which they could be seen, visits those who left.
      ('people', 'counted', '', $$
        sum(person_seconds) AS person_seconds,
        sum(seconds * coverage_video) AS watched_s,
        sum(person_seconds) / nullif(sum(seconds * coverage_video) FILTER (WHERE person_seconds IS NOT NULL), 0) AS mean,
        max(people_max) AS max,
        sum(stays_count) AS visits,
        sum(stays_mean * stays_count) / nullif(sum(stays_count), 0) AS mean_stay_s,
        max(stays_longest) AS longest_stay_s,
        sum(withheld) AS withheld_s $$),
      -- Expressions, by the number of readings.
      ('expressions', 'counted', 'WHERE readings IS NOT NULL', $$
        sum(readings) AS readings,
        sum(neutral * readings) / sum(readings) AS neutral,
        sum(happiness * readings) / sum(readings) AS happiness,
        sum(surprise * readings) / sum(readings) AS surprise,
        sum(sadness * readings) / sum(readings) AS sadness,
        sum(anger * readings) / sum(readings) AS anger,
        sum(disgust * readings) / sum(readings) AS disgust,
        sum(fear * readings) / sum(readings) AS fear,
        sum(contempt * readings) / sum(readings) AS contempt,
        sum(valence * readings) / sum(readings) AS valence,
        sum(confidence * readings) / sum(readings) AS confidence $$),
      ('bursts', 'bursts', '', $$
        sum(count) AS count,
        max(peak) AS peak,
        sum(seconds) AS seconds $$),
      -- Attention, by the time that people were there.
      ('attention', 'counted', 'WHERE attention_ratio IS NOT NULL', $$
        sum(attention_seconds) AS looked_s,
        sum(attention_ratio * coalesce(person_seconds, seconds)) / nullif(sum(coalesce(person_seconds, seconds)), 0)
          AS ratio,
        sum(attention_per_person * tracks) / nullif(sum(tracks) FILTER (WHERE attention_per_person IS NOT NULL), 0)
          AS per_person_s $$),
      ('words', 'counted', 'WHERE language IS NOT NULL OR voice_turns IS NOT NULL', $$
        sum((language ->> 'utterances')::bigint) AS utterances,
        sum((language ->> 'words')::bigint) AS words,
        sum((language ->> 'judged')::bigint) AS judged,
        mode() WITHIN GROUP (ORDER BY language ->> 'dominant') AS dominant,
        sum((language ->> 'lost')::double precision) AS lost_s,
        sum(voice_turns) AS turns,
        sum(voice_seconds) AS spoken_s,
        sum(voice_arousal * voice_seconds) / nullif(sum(voice_seconds) FILTER (WHERE voice_arousal IS NOT NULL), 0)
          AS arousal $$),
      ('quality', 'counted', '', $$
        count(*) AS windows,
        sum(coalesce(merged, 1)) AS produced,
        sum(seconds) AS seconds,
        sum(coverage_video * seconds) / nullif(sum(seconds), 0) AS coverage_video,
        sum(coverage_audio * seconds) / nullif(sum(seconds), 0) AS coverage_audio,
        sum(video_fps * seconds) / nullif(sum(seconds), 0) AS video_fps,
        sum(analysed_fps * seconds) / nullif(sum(seconds), 0) AS analysed_fps,
        sum(dropped) AS dropped,
        count(*) FILTER (WHERE 'dark' = ANY (flags)) AS dark,
        count(*) FILTER (WHERE 'covered' = ANY (flags)) AS covered,
        count(*) FILTER (WHERE 'frozen' = ANY (flags)) AS frozen,
        count(*) FILTER (WHERE 'no_detector' = ANY (flags)) AS no_detector,
        count(*) FILTER (WHERE replayed) AS replayed,
        count(*) FILTER (WHERE merged IS NOT NULL) AS merged,
        count(*) FILTER (WHERE clock = 'unsynced') AS unsynced $$),
      ('health', '(SELECT h.*, coalesce(s.timezone, ''UTC'') AS timezone FROM health h LEFT JOIN sites s USING (site))',
        '', $$
        count(*) AS reports,
        count(*) FILTER (WHERE status = 'degraded') AS degraded,
        max(cardinality(problems)) AS problems,
        max(pending) AS pending,
        max(outbox_bytes) AS outbox_bytes,
        max(rss_mb) AS rss_mb,
        max(temperature_c) AS temperature_c,
        min(uptime_s) AS uptime_s $$)
    ) AS s (name, source, filter, columns)
  LOOP
    FOR grain IN
      SELECT * FROM (VALUES
        ('by_hour', $$date_trunc('hour', at, 'UTC') AS hour$$, 'hour, site, device'),
        ('by_day', $$(at AT TIME ZONE timezone)::date AS day$$, 'day, site, device'),
        ('by_site', $$(at AT TIME ZONE timezone)::date AS day$$, 'day, site')
      ) AS g (name, bucket, keys)
    LOOP
      EXECUTE format(
        'CREATE VIEW %1$I AS SELECT %2$s, %3$s FROM (SELECT %4$s, t.* FROM %5$s t %6$s) t GROUP BY %2$s',
        subject.name || '_' || grain.name,
        grain.keys || CASE WHEN subject.name = 'bursts' THEN ', label' ELSE '' END,
        subject.columns,
        grain.bucket,
        subject.source,
        subject.filter
      );
    END LOOP;
  END LOOP;
END
$make$;
