/*
 * vcard: a virtual duplex sound card as an ALSA ioplug. No daemon, no kernel module, no root.
 *
 * One sparse file is one card. Every sample is indexed by its absolute card frame, each direction's by its own clock:
 *     frame = (CLOCK_MONOTONIC - t0) * rate * speed        (playback; capture: the same * mic_speed)
 *     [header 4 KiB][event log 16 KiB][room response 64 KiB][mic: int16 x channels][speaker: int16 x channels]
 * capture(f) = mic[f] + echo_gain * sum_k response[k] * heard(f - echo_delay - k)      (mixed when the frame is read)
 * heard(f) = speaker[f], with two clocks what sounded at the playback time f / mic_speed, by a windowed sinc.
 * playback:    a frame lies in speaker[] at the moment when it sounds; drop() erases what has not sounded yet.
 * Faults are header fields which a test pokes while streams run: gone, freeze, xrun_seq, busy, deaf.
 */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <math.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#define MAGIC 0x56434432
#define LOG_AT 4096
#define LOG_LENGTH 1024
#define RESPONSE_AT (LOG_AT + 16 * LOG_LENGTH)
#define RESPONSE_TAPS 16384
#define AUDIO_AT (RESPONSE_AT + 4 * RESPONSE_TAPS)
#define LANES 8 /* the dot product's partial sums: independent, so the compiler may use vector registers */

#define SINC_HALF 16 /* taps on either side of an instant between two frames */
#define SINC_PHASES 128 /* instants in the table; between two of them it is blended */

#define FROZEN_POLL_NS 20000000LL
#define NEVER 0 /* disarms the timer */
#define AT_ONCE 1
#define FAULT_POLL_NS 100000000LL /* a waiting reader or writer notices a fault this late at most */

struct header { /* keep in step with HEADER in layout.py */
    uint32_t magic, rate, mic_channels, speaker_channels;
    uint64_t frames;
    int64_t t0_ns;
    double speed;
    int32_t echo_delay;
    float echo_gain;
    uint32_t gone, freeze;
    int64_t freeze_frame;
    uint32_t xrun_seq, busy;
    uint32_t capture_open, playback_open;
    int64_t capture_start, playback_start;
    uint64_t capture_xruns, playback_xruns;
    uint32_t taps, events;
    double mic_speed;
    uint64_t deaf;
    uint32_t least_period, most_periods;
};
_Static_assert(sizeof(struct header) == 144, "layout.py reads this layout");

enum event_kind { OPENED, CLOSED, STARTED, STOPPED };
struct event {
    int64_t frame;
    uint32_t stream, kind;
};
_Static_assert(sizeof(struct event) == 16, "layout.py reads this layout");

struct stream {
    snd_pcm_ioplug_t io;
    volatile struct header *h;
    struct event *log;
    const float *response;
    int16_t *mic, *speaker;
    size_t file_size;
    int file_fd, lock_fd;
    int64_t start; /* card frame of stream position 0 */
    int running;
    uint64_t appl; /* stream position of the application: next frame to read or write */
    unsigned avail_min;
    snd_pcm_uframes_t boundary;
    uint32_t xrun_seq;
    int16_t *stage; /* playback written before the start: its frames have no time yet */
    uint64_t staged;
    float *heard; /* of the loudspeaker on the microphone's clock: a response looks back on it at every read */
    int64_t heard_from;
    uint64_t heard_count;
};

/* ---- time and position ---- */

static int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int is_capture(const struct stream *s)
{
    return s->io.stream == SND_PCM_STREAM_CAPTURE;
}

static double own_speed(const struct stream *s)
{
    return is_capture(s) ? s->h->mic_speed : 1;
}

static int64_t frame_now(const struct stream *s)
{
    if (s->h->freeze)
        return (int64_t)(s->h->freeze_frame * own_speed(s));
    return (int64_t)((monotonic_ns() - s->h->t0_ns) * 1e-9 * s->h->rate * s->h->speed * own_speed(s));
}

static int64_t ns_of_frame(const struct stream *s, int64_t frame)
{
    return s->h->t0_ns + (int64_t)(frame / (s->h->rate * s->h->speed * own_speed(s)) * 1e9) + 1;
}

static int is_draining(const struct stream *s)
{
    return s->io.state == SND_PCM_STATE_DRAINING;
}

/* With mmap access alsa-lib reads ahead of the application, so only its own pointer says what was consumed. */
static int is_mmap_capture(const struct stream *s)
{
    return is_capture(s) && s->io.access == SND_PCM_ACCESS_MMAP_INTERLEAVED;
}

static void sync_appl(struct stream *s)
{
    if (is_mmap_capture(s))
        s->appl = s->io.appl_ptr;
}

static int64_t hw_position(const struct stream *s)
{
    return s->running ? frame_now(s) - s->start : 0;
}

static int64_t available(struct stream *s)
{
    sync_appl(s);
    int64_t unplayed_or_unread = (int64_t)s->appl - hw_position(s);
    return is_capture(s) ? -unplayed_or_unread : (int64_t)s->io.buffer_size - unplayed_or_unread;
}

static void witness(struct stream *s, enum event_kind kind, int64_t frame)
{
    /* two processes may hold one direction each: the counter hands out the slots */
    uint32_t slot = __atomic_fetch_add(&s->h->events, 1, __ATOMIC_SEQ_CST);
    if (slot < LOG_LENGTH)
        s->log[slot] = (struct event){frame, s->io.stream, kind};
}

/* ---- waking pollers: a timer stands in for the interrupt ---- */

static void set_timer(const struct stream *s, int64_t at_ns)
{
    struct itimerspec when = {{0, 0}, {at_ns / 1000000000, at_ns % 1000000000}};
    timerfd_settime(s->io.poll_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static int64_t wanted_position(const struct stream *s)
{
    if (is_draining(s))
        return (int64_t)s->appl;
    return (int64_t)s->appl + s->avail_min - (is_capture(s) ? 0 : (int64_t)s->io.buffer_size);
}

/* Level semantics: the timer expires when avail reaches avail_min; an instant in the past is readable at once. */
static int64_t next_wake_ns(struct stream *s)
{
    sync_appl(s);
    if (s->h->gone)
        return AT_ONCE;
    if (!s->running) /* capture has nothing to wait for before its first read starts it */
        return !is_capture(s) && available(s) >= s->avail_min ? AT_ONCE : NEVER;
    if (s->h->freeze)
        return monotonic_ns() + FROZEN_POLL_NS;
    int64_t due = ns_of_frame(s, s->start + wanted_position(s));
    int64_t latest = monotonic_ns() + FAULT_POLL_NS;
    return due < latest ? due : latest;
}

static void arm(struct stream *s)
{
    set_timer(s, next_wake_ns(s));
}

static int on_poll_revents(snd_pcm_ioplug_t *io, struct pollfd *fds, unsigned count, unsigned short *revents)
{
    struct stream *s = io->private_data;
    unsigned short ready = is_capture(s) ? POLLIN : POLLOUT;
    (void)count;
    *revents = 0;
    if (s->h->gone)
        *revents = POLLERR | POLLHUP | ready;
    else if (!(fds[0].revents & POLLIN))
        return 0;
    else if (io->state != SND_PCM_STATE_RUNNING && io->state != SND_PCM_STATE_PREPARED && !is_draining(s))
        *revents = POLLERR | ready;
    else if (is_draining(s) ? hw_position(s) >= (int64_t)s->appl : available(s) >= s->avail_min)
        *revents = ready;
    else
        arm(s);
    return 0;
}

/* ---- samples ---- */

static int inside(const struct stream *s, int64_t frame, int64_t count)
{
    return frame >= 0 && frame + count <= (int64_t)s->h->frames;
}

static void sound(struct stream *s, int64_t frame, const int16_t *samples, uint64_t count)
{
    if (inside(s, frame, count))
        memcpy(s->speaker + frame * s->h->speaker_channels, samples, count * s->h->speaker_channels * 2);
}

static void erase_unsounded(struct stream *s)
{
    int64_t from = frame_now(s), to = s->start + (int64_t)s->appl;
    if (to > from && inside(s, from, to - from))
        memset(s->speaker + from * s->h->speaker_channels, 0, (to - from) * s->h->speaker_channels * 2);
}

static float speaker_at(const struct stream *s, int64_t frame)
{
    return inside(s, frame, 1) ? s->speaker[frame * s->h->speaker_channels] : 0;
}

static float sinc_table[SINC_PHASES + 1][2 * SINC_HALF];

static void fill_sinc_table(void)
{
    for (int phase = 0; phase <= SINC_PHASES; phase++)
        for (int tap = 0; tap < 2 * SINC_HALF; tap++) {
            double x = M_PI * (tap - SINC_HALF + 1 - (double)phase / SINC_PHASES);
            double window = cos(x / (2 * SINC_HALF)) * cos(x / (2 * SINC_HALF));
            sinc_table[phase][tap] = (float)(x == 0 ? 1 : sin(x) / x * window);
        }
}

static float speaker_between(const struct stream *s, double frame)
{
    int64_t first = (int64_t)floor(frame);
    double phase = (frame - (double)first) * SINC_PHASES;
    const float *a = sinc_table[(int)phase], *b = sinc_table[(int)phase + 1];
    float blend = (float)(phase - floor(phase)), total = 0;
    for (int tap = 0; tap < 2 * SINC_HALF; tap++)
        total += (a[tap] + blend * (b[tap] - a[tap])) * speaker_at(s, first + tap - SINC_HALF + 1);
    return total;
}

static float speaker_on_mic_clock(const struct stream *s, int64_t frame)
{
    return s->h->mic_speed == 1 ? speaker_at(s, frame) : speaker_between(s, frame / s->h->mic_speed);
}

/* What sounded at `count` frames of the microphone's clock. What was asked for before is kept: it is past. */
static const float *hear(struct stream *s, int64_t first, uint64_t count)
{
    int64_t kept = s->heard_from + (int64_t)s->heard_count - first;
    if (first < s->heard_from || kept < 0)
        kept = 0;
    if (kept > (int64_t)count)
        kept = (int64_t)count;
    if (kept)
        memmove(s->heard, s->heard + (first - s->heard_from), kept * sizeof *s->heard);
    for (int64_t i = kept; i < (int64_t)count; i++)
        s->heard[i] = speaker_on_mic_clock(s, first + i);
    s->heard_from = first;
    s->heard_count = count;
    return s->heard;
}

static float dot(const float *a, const float *b, unsigned length)
{
    float sums[LANES] = {0}, total = 0;
    for (unsigned i = 0; i < length; i += LANES)
        for (unsigned lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (unsigned lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return total;
}

static unsigned padded_taps(const struct stream *s)
{
    unsigned taps = s->h->taps < RESPONSE_TAPS ? s->h->taps : RESPONSE_TAPS;
    return (taps + LANES - 1) / LANES * LANES;
}

/* vcard.py stores the response time-reversed and front-padded with zeros, so one dot product is one output frame. */
static void echo_of(struct stream *s, int64_t frame, uint64_t count, float *echo)
{
    int64_t first = frame - s->h->echo_delay;
    unsigned taps = padded_taps(s);
    if (s->h->echo_gain == 0) {
        memset(echo, 0, count * sizeof *echo);
    } else if (taps) {
        const float *heard = hear(s, first - (int64_t)taps + 1, taps + count - 1);
        for (uint64_t i = 0; i < count; i++)
            echo[i] = s->h->echo_gain * dot(s->response, heard + i, taps);
    } else {
        const float *heard = hear(s, first, count);
        for (uint64_t i = 0; i < count; i++)
            echo[i] = s->h->echo_gain * heard[i];
    }
}

static int16_t clip(float sample)
{
    return sample > 32767 ? 32767 : sample < -32768 ? -32768 : (int16_t)sample;
}

static int record(struct stream *s, int64_t frame, int16_t *out, uint64_t count)
{
    unsigned channels = s->h->mic_channels;
    if (s->h->deaf) {
        memset(out, 0, count * channels * sizeof *out);
        return 0;
    }
    float *echo = malloc(count * sizeof *echo);
    if (!echo)
        return -ENOMEM;
    echo_of(s, frame, count, echo);
    for (uint64_t i = 0; i < count; i++)
        for (unsigned c = 0; c < channels; c++) {
            int64_t at = frame + (int64_t)i;
            float mic = inside(s, at, 1) ? s->mic[at * channels + c] : 0;
            out[i * channels + c] = clip(mic + echo[i]);
        }
    free(echo);
    return 0;
}

static void play(struct stream *s, const int16_t *samples, uint64_t count)
{
    if (s->running) {
        sound(s, s->start + (int64_t)s->appl, samples, count);
        return;
    }
    memcpy(s->stage + s->staged * s->h->speaker_channels, samples, count * s->h->speaker_channels * 2);
    s->staged += count;
}

/* ---- the stream's life, as alsa-lib calls it ---- */

static int on_sw_params(snd_pcm_ioplug_t *io, snd_pcm_sw_params_t *params)
{
    struct stream *s = io->private_data;
    snd_pcm_uframes_t avail_min;
    snd_pcm_sw_params_get_avail_min(params, &avail_min);
    snd_pcm_sw_params_get_boundary(params, &s->boundary);
    s->avail_min = avail_min;
    return 0;
}

static void halt(struct stream *s)
{
    if (s->running) {
        if (!is_capture(s))
            erase_unsounded(s);
        witness(s, STOPPED, frame_now(s));
    }
    s->running = 0;
    s->staged = 0;
    set_timer(s, AT_ONCE); /* a blocked reader or writer must see the new state */
}

static int on_prepare(snd_pcm_ioplug_t *io)
{
    struct stream *s = io->private_data;
    if (s->h->gone)
        return -ENODEV;
    s->running = 0;
    s->appl = s->staged = 0;
    free(s->stage);
    s->stage = calloc(io->buffer_size, 2 * io->channels);
    free(s->heard);
    s->heard = calloc(RESPONSE_TAPS + io->buffer_size, sizeof *s->heard);
    s->heard_count = 0;
    arm(s);
    return s->stage && s->heard ? 0 : -ENOMEM;
}

static int on_start(snd_pcm_ioplug_t *io)
{
    struct stream *s = io->private_data;
    if (s->h->gone)
        return -ENODEV;
    s->start = frame_now(s);
    s->running = 1;
    s->xrun_seq = s->h->xrun_seq;
    if (is_capture(s)) {
        s->h->capture_start = s->start;
    } else {
        s->h->playback_start = s->start;
        sound(s, s->start, s->stage, s->staged);
        s->staged = 0;
    }
    witness(s, STARTED, s->start);
    arm(s);
    return 0;
}

static int on_stop(snd_pcm_ioplug_t *io)
{
    halt(io->private_data);
    return 0;
}

static int is_xrun(struct stream *s, int64_t hw)
{
    int injected = s->xrun_seq != s->h->xrun_seq;
    s->xrun_seq = s->h->xrun_seq;
    if (is_capture(s))
        return injected || hw - (int64_t)s->appl > (int64_t)s->io.buffer_size;
    return !is_draining(s) && (injected || hw > (int64_t)s->appl);
}

static snd_pcm_sframes_t on_pointer(snd_pcm_ioplug_t *io)
{
    struct stream *s = io->private_data;
    if (s->h->gone) {
        snd_pcm_ioplug_set_state(io, SND_PCM_STATE_DISCONNECTED);
        return -ENODEV;
    }
    if (!s->running)
        return 0;
    sync_appl(s);
    int64_t hw = hw_position(s);
    if (is_xrun(s, hw)) {
        (*(is_capture(s) ? &s->h->capture_xruns : &s->h->playback_xruns))++;
        halt(s);
        return -EPIPE;
    }
    if (!is_capture(s) && hw > (int64_t)s->appl) /* draining: the card has nothing left to play */
        hw = s->appl;
    return hw % s->boundary;
}

static int64_t read_ahead(const struct stream *s, snd_pcm_uframes_t offset)
{
    if (!is_mmap_capture(s))
        return 0;
    int64_t ahead = (int64_t)offset - (int64_t)(s->appl % s->io.buffer_size);
    return ahead < 0 ? ahead + (int64_t)s->io.buffer_size : ahead;
}

static snd_pcm_sframes_t on_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
                                     snd_pcm_uframes_t offset, snd_pcm_uframes_t count)
{
    struct stream *s = io->private_data;
    int16_t *samples = (int16_t *)((char *)areas->addr + (areas->first + areas->step * offset) / 8);
    if (s->h->gone)
        return -ENODEV;
    sync_appl(s);
    if (!is_capture(s))
        play(s, samples, count);
    else if (record(s, s->start + (int64_t)s->appl + read_ahead(s, offset), samples, count) < 0)
        return -ENOMEM;
    if (!is_mmap_capture(s))
        s->appl += count;
    arm(s);
    return count;
}

/* ---- opening and closing ---- */

static void release(struct stream *s)
{
    if (s->io.poll_fd >= 0)
        close(s->io.poll_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->h)
        munmap((void *)s->h, s->file_size);
    if (s->file_fd >= 0)
        close(s->file_fd);
    free(s->stage);
    free(s->heard);
    free(s);
}

static void mark_open(struct stream *s, int open)
{
    *(is_capture(s) ? &s->h->capture_open : &s->h->playback_open) = open;
    witness(s, open ? OPENED : CLOSED, frame_now(s));
}

static int on_close(snd_pcm_ioplug_t *io)
{
    struct stream *s = io->private_data;
    halt(s);
    mark_open(s, 0);
    release(s);
    return 0;
}

static int map_card(struct stream *s, const char *path)
{
    struct stat st;
    s->file_fd = open(path, O_RDWR | O_CLOEXEC);
    if (s->file_fd < 0 || fstat(s->file_fd, &st) < 0)
        return -errno;
    if (st.st_size < AUDIO_AT)
        return -EINVAL;
    char *base = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->file_fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    s->h = (struct header *)base;
    s->file_size = st.st_size;
    s->log = (struct event *)(base + LOG_AT);
    s->response = (const float *)(base + RESPONSE_AT);
    s->mic = (int16_t *)(base + AUDIO_AT);
    s->speaker = s->mic + s->h->frames * s->h->mic_channels;
    fill_sinc_table();
    return s->h->magic != MAGIC ? -EINVAL : s->h->gone ? -ENODEV : 0;
}

/* One opener a direction, as hw: has. The kernel frees a flock when its holder dies, so a killed daemon leaves none. */
static int lock_direction(struct stream *s, const char *path, snd_pcm_stream_t direction)
{
    char lock_path[4200];
    snprintf(lock_path, sizeof lock_path, "%s.%s", path, direction == SND_PCM_STREAM_CAPTURE ? "c" : "p");
    s->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock_fd < 0)
        return -errno;
    return s->h->busy || flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0 ? -EBUSY : 0;
}

static int limit(snd_pcm_ioplug_t *io, int what, unsigned low, unsigned high)
{
    return snd_pcm_ioplug_set_param_minmax(io, what, low, high);
}

static void offer_parameters(struct stream *s)
{
    /* MMAP_INTERLEAVED too: without it 'plug' refuses every conversion with EINVAL */
    static const unsigned access[] = {SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED};
    static const unsigned format[] = {SND_PCM_FORMAT_S16_LE};
    unsigned channels = is_capture(s) ? s->h->mic_channels : s->h->speaker_channels;
    snd_pcm_ioplug_set_param_list(&s->io, SND_PCM_IOPLUG_HW_ACCESS, 2, access);
    snd_pcm_ioplug_set_param_list(&s->io, SND_PCM_IOPLUG_HW_FORMAT, 1, format);
    limit(&s->io, SND_PCM_IOPLUG_HW_CHANNELS, channels, channels);
    limit(&s->io, SND_PCM_IOPLUG_HW_RATE, s->h->rate, s->h->rate);
    limit(&s->io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, s->h->least_period * 2 * channels, 65536);
    limit(&s->io, SND_PCM_IOPLUG_HW_BUFFER_BYTES, 32 * 2 * channels, 1 << 20);
    limit(&s->io, SND_PCM_IOPLUG_HW_PERIODS, 2, s->h->most_periods);
}

static const snd_pcm_ioplug_callback_t CALLBACKS = {
    .start = on_start,
    .stop = on_stop,
    .pointer = on_pointer,
    .transfer = on_transfer,
    .prepare = on_prepare,
    .sw_params = on_sw_params,
    .poll_revents = on_poll_revents,
    .close = on_close,
};

static struct stream *new_stream(void)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->file_fd = s->lock_fd = -1;
    s->avail_min = s->boundary = 1;
    s->io.version = SND_PCM_IOPLUG_VERSION;
    s->io.name = "virtual card";
    s->io.callback = &CALLBACKS;
    s->io.private_data = s;
    s->io.flags = SND_PCM_IOPLUG_FLAG_MONOTONIC | SND_PCM_IOPLUG_FLAG_BOUNDARY_WA;
    s->io.poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    s->io.poll_events = POLLIN;
    return s;
}

static int read_config(snd_config_t *conf, const char **path)
{
    snd_config_iterator_t i, next;
    snd_config_for_each(i, next, conf) {
        snd_config_t *node = snd_config_iterator_entry(i);
        const char *id;
        if (snd_config_get_id(node, &id) < 0 || !strcmp(id, "comment") || !strcmp(id, "type") || !strcmp(id, "hint"))
            continue;
        if (strcmp(id, "file") || snd_config_get_string(node, path) < 0) {
            SNDERR("vcard: unknown or unusable field %s", id);
            return -EINVAL;
        }
    }
    return *path ? 0 : -EINVAL;
}

SND_PCM_PLUGIN_DEFINE_FUNC(vcard)
{
    const char *path = NULL;
    (void)root;
    int err = read_config(conf, &path);
    if (err < 0)
        return err;
    struct stream *s = new_stream();
    if (!s)
        return -ENOMEM;
    if ((err = map_card(s, path)) < 0 || (err = lock_direction(s, path, stream)) < 0
        || (err = snd_pcm_ioplug_create(&s->io, name, stream, mode)) < 0) {
        release(s);
        return err;
    }
    offer_parameters(s);
    mark_open(s, 1);
    *pcmp = s->io.pcm;
    return 0;
}
SND_PCM_PLUGIN_SYMBOL(vcard);
