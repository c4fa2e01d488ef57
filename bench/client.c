/* The measuring client: opens many SSE streams on one loop and says when their events came.
 *
 * Knows HTTP/1.1 (chunked, content-length, until close) and as much of SSE as it takes to see an event end. It must
 * cost little beside what it measures, so it is C, one thread, one epoll.
 *
 * An event that counts carries a mark in one of its lines: `@` + 8 hex digits of its number in the stream (from 0) +
 * `:` + 16 hex digits of nanoseconds + `@`. The nanoseconds are the moment it was sent (CLOCK_MONOTONIC) or, in a
 * replay, its recorded time. Its arrival is the return of the recv() that completed its blank line.
 *
 * One rule: nothing is guessed. What is missing, twice or out of order is counted, and an error is an error.
 *
 * client [options] HOST PORT REQUEST_FILE        the request's bytes are sent as they are in the file
 *   -n N   streams at once (1)                   -t N   streams in all, one after another in N places (= -n)
 *   -s MS  spread the first N openings (0)       -e N   events each stream must have (unknown)
 *   -d S   stop after S seconds (never)          -w S   no statistics in the first S seconds (0)
 *   -f     leave each stream after its first event
 *
 * Prints `open EVENTS` when the first N streams all had an event (so many came until then), and at the end one JSON
 * document.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (1 << 20)
#define HEAD_BYTES 65536
#define LINE_BYTES 4096 /* of a line cut by reads; the mark stands near the start, the rest of it is not needed */

/* A histogram of nanoseconds: 64 buckets per octave, so that a percentile is exact to 1.1 %. */
#define SUB 64
typedef struct { uint64_t bucket[60 * SUB], count, most; } Histogram;

static void put(Histogram *h, int64_t signed_value) {
    uint64_t value = signed_value < 0 ? 0 : (uint64_t)signed_value;
    int octave = value < SUB ? 0 : 63 - __builtin_clzll(value) - 5;
    uint64_t at = value < SUB ? value : (uint64_t)octave * SUB + ((value >> (octave - 1)) - SUB);
    if (value >= SUB && octave >= 59) at = 59 * SUB;
    h->bucket[at]++, h->count++;
    if (value > h->most) h->most = value;
}

static double quantile(const Histogram *h, double q) {
    if (!h->count) return -1;
    uint64_t rank = (uint64_t)(q * (double)(h->count - 1)), seen = 0;
    for (int at = 0; at < 60 * SUB; at++)
        if ((seen += h->bucket[at]) > rank) {
            if (at < SUB) return at;
            int octave = at / SUB;
            double low = (double)(SUB + at % SUB) * (double)(1ull << (octave - 1));
            double value = low * (1 + 0.5 / SUB);
            return value < (double)h->most ? value : (double)h->most;
        }
    return (double)h->most;
}

static void show(const char *name, const Histogram *h) {
    printf("\"%s\":{\"count\":%llu,\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%llu},", name,
           (unsigned long long)h->count, quantile(h, .5), quantile(h, .9), quantile(h, .99), quantile(h, .999),
           (unsigned long long)h->most);
}

enum { CONNECTING, HEAD, BODY };
enum { CHUNKED, LENGTH, TO_CLOSE };
enum { SIZE, EXTENSION, DATA, AFTER_DATA, TRAILER };

typedef struct {
    int fd, state, framing, chunk_state, is_marked, is_line_long;
    uint32_t expected, events, number;
    size_t sent, head_size, line_size, left;
    uint64_t mark, trailer_size;
    int64_t opened, arrived, arrived_first, mark_last, mark_first;
    char *head, *line;
} Stream;

static Histogram latency, gap, first_event, drift;
static uint64_t events, payload_bytes, read_bytes, lost, duplicated, reordered, broken, refused, chunks, finished;
static int64_t first_arrival, last_arrival, quiet_until, now;
static long wanted_events = -1;
static int leave_first, places = 1, total = -1, opened, first_seen, epoll_fd, live;
static char *request, buffer[READ_BYTES];
static size_t request_size;
static struct sockaddr_in address;

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(Stream *s, int operation, uint32_t what) {
    struct epoll_event e = {.events = what, .data.ptr = s};
    if (epoll_ctl(epoll_fd, operation, s->fd, &e)) die("epoll_ctl");
}

static void open_stream(Stream *s) {
    char *head = s->head, *line = s->line;
    memset(s, 0, sizeof *s);
    s->head = head, s->line = line;
    if ((s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) die("socket");
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->opened = clock_ns();
    opened++, live++;
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
    watch(s, EPOLL_CTL_ADD, EPOLLOUT);
}

static void close_stream(Stream *s, int is_whole) {
    if (s->fd < 0) return;
    if (!is_whole) broken++;
    else finished++;
    if (wanted_events >= 0 && !leave_first && s->expected < (uint32_t)wanted_events)
        lost += (uint64_t)wanted_events - s->expected;
    if (s->events > 1) {
        int64_t off = (s->arrived - s->arrived_first) - (s->mark_last - s->mark_first);
        put(&drift, off < 0 ? -off : off);
    }
    close(s->fd);
    s->fd = -1, live--;
    free(s->head), free(s->line);
    s->head = s->line = NULL;
    if (opened < total && opened >= places) open_stream(s);
}

static uint64_t hex(const char *p, int digits) {
    uint64_t value = 0;
    for (; digits--; p++) value = value << 4 | (uint64_t)(*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
    return value;
}

/* An event has ended; returns 0 if the stream is to be left. */
static int event_ended(Stream *s) {
    if (!s->is_marked) return 1;
    s->is_marked = 0;
    if (s->number == s->expected) s->expected++;
    else if (s->number > s->expected) lost += s->number - s->expected, s->expected = s->number + 1;
    else if (s->number + 1 == s->expected) duplicated++;
    else reordered++;
    int64_t mark = (int64_t)s->mark;
    if (!s->events++) {
        put(&first_event, now - s->opened);
        s->arrived_first = now, s->mark_first = mark;
        if (++first_seen == places) printf("open %llu\n", (unsigned long long)events + 1), fflush(stdout);
    } else if (now >= quiet_until) {
        int64_t off = (now - s->arrived) - (mark - s->mark_last);
        put(&gap, off < 0 ? -off : off);
    }
    if (now >= quiet_until) put(&latency, now - mark);
    s->arrived = now, s->mark_last = mark;
    if (!events++) first_arrival = now;
    last_arrival = now;
    return !leave_first;
}

static int line_ended(Stream *s, const char *line, size_t size) {
    if (size && line[size - 1] == '\r') size--;
    if (!size) return event_ended(s);
    const char *at = size >= 27 ? memchr(line, '@', size) : NULL;
    if (at && (size_t)(line + size - at) >= 27 && at[9] == ':' && at[26] == '@') {
        s->number = (uint32_t)hex(at + 1, 8), s->mark = hex(at + 10, 16);
        s->is_marked = 1;
    }
    return 1;
}

static int take_body(Stream *s, const char *data, size_t size) {
    payload_bytes += size;
    while (size) {
        const char *end = memchr(data, '\n', size);
        size_t part = end ? (size_t)(end - data) : size;
        if (s->line_size || !end) {
            if (!s->line && !(s->line = malloc(LINE_BYTES))) die("malloc");
            size_t room = LINE_BYTES - s->line_size, kept = part < room ? part : room;
            memcpy(s->line + s->line_size, data, kept);
            s->line_size += kept;
            if (!end) return 1;
            size_t whole = s->line_size;
            s->line_size = 0;
            if (!line_ended(s, s->line, whole)) return 0;
        } else if (!line_ended(s, data, part))
            return 0;
        data += part + 1, size -= part + 1;
    }
    return 1;
}

/* Returns 1 to go on, 0 to leave, 2 when the body is whole. */
static int take_chunked(Stream *s, const char *data, size_t size) {
    while (size) {
        if (s->chunk_state == DATA) {
            size_t part = size < s->left ? size : s->left;
            if (!take_body(s, data, part)) return 0;
            data += part, size -= part;
            if (!(s->left -= part)) s->chunk_state = AFTER_DATA;
            continue;
        }
        char c = *data++;
        size--;
        switch (s->chunk_state) {
        case SIZE:
            if (c == ';') s->chunk_state = EXTENSION;
            else if (c == '\n') goto size_known;
            else if (c != '\r') s->left = s->left << 4 | (size_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
            break;
        case EXTENSION:
            if (c != '\n') break;
        size_known:
            chunks++;
            s->chunk_state = s->left ? DATA : TRAILER;
            s->trailer_size = 0;
            break;
        case AFTER_DATA:
            if (c == '\n') s->chunk_state = SIZE, s->left = 0;
            break;
        case TRAILER:
            if (c == '\n') {
                if (!s->trailer_size) return 2;
                s->trailer_size = 0;
            } else if (c != '\r') s->trailer_size++;
        }
    }
    return 1;
}

static int take(Stream *s, char *data, size_t size) {
    if (s->state == HEAD) {
        if (!s->head && !(s->head = malloc(HEAD_BYTES + 1))) die("malloc");
        size_t before = s->head_size, room = HEAD_BYTES - before, part = size < room ? size : room;
        memcpy(s->head + before, data, part);
        s->head[before + part] = 0;
        char *end = strstr(s->head, "\r\n\r\n");
        if (!end) {
            s->head_size += part;
            return part == size;
        }
        size_t used = (size_t)(end + 4 - s->head) - before;
        end[2] = 0;
        if (strncmp(s->head, "HTTP/1.", 7) || atoi(s->head + 9) != 200) {
            if (!refused++) fprintf(stderr, "client: refused: %.200s\n%.400s\n", s->head, data + used);
            return 0;
        }
        char *length = strcasestr(s->head, "\r\ncontent-length:");
        s->framing = strcasestr(s->head, "\r\ntransfer-encoding: chunked") ? CHUNKED : length ? LENGTH : TO_CLOSE;
        if (s->framing == LENGTH) s->left = strtoull(length + 17, NULL, 10);
        free(s->head);
        s->head = NULL, s->state = BODY;
        data += used, size -= used;
    }
    if (s->framing == CHUNKED) return take_chunked(s, data, size);
    if (!take_body(s, data, size)) return 0;
    if (s->framing == LENGTH && (s->left -= size) == 0) return 2;
    return 1;
}

static void ready(Stream *s, uint32_t what) {
    if (s->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            errno = error;
            die("connect");
        }
        ssize_t n = send(s->fd, request + s->sent, request_size - s->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return close_stream(s, 0);
        if (n > 0) s->sent += (size_t)n;
        if (s->sent == request_size) s->state = HEAD, watch(s, EPOLL_CTL_MOD, EPOLLIN);
        return;
    }
    (void)what;
    ssize_t n = recv(s->fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    now = clock_ns();
    if (n <= 0) return close_stream(s, n == 0 && s->state == BODY && s->framing == TO_CLOSE);
    read_bytes += (uint64_t)n;
    int next = take(s, buffer, (size_t)n);
    if (next != 1) close_stream(s, next == 2 || (leave_first && s->events));
}

int main(int argc, char **argv) {
    double spread_ms = 0, duration = 0, quiet = 0;
    for (int option; (option = getopt(argc, argv, "n:t:s:e:d:w:f")) != -1;) switch (option) {
        case 'n': places = atoi(optarg); break;
        case 't': total = atoi(optarg); break;
        case 's': spread_ms = atof(optarg); break;
        case 'e': wanted_events = atol(optarg); break;
        case 'd': duration = atof(optarg); break;
        case 'w': quiet = atof(optarg); break;
        case 'f': leave_first = 1; break;
        default: return 2;
        }
    if (argc - optind != 3) return fprintf(stderr, "usage: client [options] HOST PORT REQUEST_FILE\n"), 2;
    if (total < places) total = places;
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[optind + 1]));
    if (inet_pton(AF_INET, argv[optind], &address.sin_addr) != 1) die("address");
    FILE *file = fopen(argv[optind + 2], "rb");
    if (!file) die(argv[optind + 2]);
    request = malloc(1 << 20);
    request_size = fread(request, 1, 1 << 20, file);
    fclose(file);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if ((epoll_fd = epoll_create1(0)) < 0) die("epoll");
    Stream *streams = calloc((size_t)places, sizeof *streams);
    for (int i = 0; i < places; i++) streams[i].fd = -1;
    int64_t start = clock_ns(), end = duration > 0 ? start + (int64_t)(duration * 1e9) : INT64_MAX;
    quiet_until = start + (int64_t)(quiet * 1e9);
    int begun = 0;
    struct epoll_event found[256];
    while ((live || begun < places) && (now = clock_ns()) < end) {
        int64_t next = end;
        for (; begun < places; begun++) {
            int64_t due = start + (int64_t)(spread_ms * 1e6 * begun / places);
            if (due > now) {
                next = due < next ? due : next;
                break;
            }
            open_stream(&streams[begun]);
        }
        struct timespec left = {3600, 0};
        if (next != INT64_MAX) {
            int64_t wait = next - clock_ns();
            if (wait < 0) wait = 0;
            left.tv_sec = wait / 1000000000, left.tv_nsec = wait % 1000000000;
        }
        int count = epoll_pwait2(epoll_fd, found, 256, &left, NULL);
        if (count < 0 && errno != EINTR) die("epoll_pwait2");
        for (int i = 0; i < count; i++)
            if (((Stream *)found[i].data.ptr)->fd >= 0) ready(found[i].data.ptr, found[i].events);
    }
    int64_t stopped = clock_ns();
    uint64_t open_at_end = (uint64_t)live;
    for (int i = 0; i < places; i++)
        if (streams[i].fd >= 0 && streams[i].events > 1) {
            Stream *s = &streams[i];
            int64_t off = (s->arrived - s->arrived_first) - (s->mark_last - s->mark_first);
            put(&drift, off < 0 ? -off : off);
        }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{");
    show("latency_ns", &latency), show("gap_ns", &gap), show("first_event_ns", &first_event), show("drift_ns", &drift);
    printf("\"events\":%llu,\"payload_bytes\":%llu,\"read_bytes\":%llu,\"chunks\":%llu,\"lost\":%llu,"
           "\"duplicated\":%llu,\"reordered\":%llu,\"broken\":%llu,\"refused\":%llu,\"finished\":%llu,\"open\":%llu,"
           "\"opened\":%d,\"started\":%d,\"span_ns\":%lld,\"wall_ns\":%lld,\"cpu_ns\":%lld}\n",
           (unsigned long long)events, (unsigned long long)payload_bytes, (unsigned long long)read_bytes,
           (unsigned long long)chunks, (unsigned long long)lost, (unsigned long long)duplicated,
           (unsigned long long)reordered, (unsigned long long)broken, (unsigned long long)refused,
           (unsigned long long)finished, (unsigned long long)open_at_end, opened, first_seen,
           (long long)(last_arrival - first_arrival), (long long)(stopped - start),
           (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
               (long long)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL);
    return 0;
}
