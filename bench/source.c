/* The upstream that the recorder and the proxies are measured in front of: SSE, paced or as fast as it is read.
 *
 * Knows nothing of what stands in front of it. One thread, one epoll, one timerfd, so that it costs little beside what
 * is measured. One rule: an event is stamped right before it is sent, and sent at its time on an absolute schedule.
 *
 * GET|POST /anything?events=N&rate=R&size=B     N events (0: without end) of B bytes, R per second (0: unpaced)
 *
 * Each event is one HTTP chunk and looks like a token of an Agent Server stream; its mark is explained in client.c.
 * Usage: source; prints `listening PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES 65536
#define EVENT_BYTES 32768
#define REQUEST_BYTES 65536

typedef struct {
    int fd, is_streaming, is_blocked, place; /* place in the heap, -1 if not there */
    uint64_t events, sent, rate, size;
    int64_t start, due;
    size_t have, skip, pending, pending_at;
    char *request, *out;
} Peer;

static int epoll_fd, timer_fd, heap_size, heap_room;
static Peer **heap;

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void heap_set(int at, Peer *p) { heap[at] = p, p->place = at; }

static void heap_fix(int at) {
    Peer *p = heap[at];
    while (at && heap[(at - 1) / 2]->due > p->due) heap_set(at, heap[(at - 1) / 2]), at = (at - 1) / 2;
    for (int child; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= p->due) break;
        heap_set(at, heap[child]);
    }
    heap_set(at, p);
}

static void heap_add(Peer *p) {
    if (heap_size == heap_room && !(heap = realloc(heap, sizeof *heap * (size_t)(heap_room = heap_room * 2 + 64))))
        die("realloc");
    heap_set(heap_size++, p);
    heap_fix(p->place);
}

static void heap_remove(Peer *p) {
    int at = p->place;
    if (at < 0) return;
    p->place = -1;
    Peer *last = heap[--heap_size];
    if (last != p) heap_set(at, last), heap_fix(at);
}

static void watch(Peer *p, int operation, uint32_t what) {
    struct epoll_event e = {.events = what, .data.ptr = p};
    if (epoll_ctl(epoll_fd, operation, p->fd, &e)) die("epoll_ctl");
}

static void drop(Peer *p) {
    heap_remove(p);
    close(p->fd);
    free(p->request), free(p->out), free(p);
}

static char *hex(char *at, uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--, value >>= 4) at[i] = "0123456789abcdef"[value & 15];
    return at + digits;
}

static size_t make_event(char *out, Peer *p, uint64_t number, int64_t now) {
    static const char before[] = "event: messages\r\ndata: [{\"type\":\"AIMessageChunk\",\"content\":\"@";
    static const char middle[] =
        "\",\"id\":\"run--019\"},{\"langgraph_step\":1,\"langgraph_node\":\"model\",\"langgraph_triggers\":"
        "[\"branch:to:model\"],\"langgraph_checkpoint_ns\":\"model:8c1f1a0e\",\"pad\":\"";
    static const char bare[] = "\",\"pad\":\"", after[] = "\"}]\r\n\r\n", after_bare[] = "\"},{}]\r\n\r\n";
    int is_full = p->size >= sizeof before + sizeof middle + sizeof after + 26;
    const char *between = is_full ? middle : bare, *last = is_full ? after : after_bare;
    size_t fixed = sizeof before - 1 + 26 + strlen(between) + strlen(last);
    size_t size = p->size < fixed ? fixed : p->size, fill = size - fixed;
    char *at = out + sprintf(out, "%zx\r\n", size);
    memcpy(at, before, sizeof before - 1), at += sizeof before - 1;
    at = hex(at, number, 8);
    *at++ = ':';
    at = hex(at, (uint64_t)now, 16);
    *at++ = '@';
    at = stpcpy(at, between);
    memset(at, 'x', fill), at += fill;
    at = stpcpy(at, last);
    memcpy(at, "\r\n", 2);
    return (size_t)(at + 2 - out);
}

/* Send what is pending; 1 all, 0 not all, -1 the peer is gone. */
static int flush(Peer *p) {
    while (p->pending_at < p->pending) {
        ssize_t n = send(p->fd, p->out + p->pending_at, p->pending - p->pending_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!p->is_blocked) p->is_blocked = 1, watch(p, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 0;
        }
        if (n <= 0) return -1;
        p->pending_at += (size_t)n;
    }
    p->pending = p->pending_at = 0;
    if (p->is_blocked) p->is_blocked = 0, watch(p, EPOLL_CTL_MOD, EPOLLIN);
    return 1;
}

/* Send what is due; 0 if the peer is gone. */
static int pump(Peer *p) {
    int state = flush(p);
    /* One block per turn for an unpaced stream, so that the others get theirs. */
    for (int turn = 0; state == 1 && p->is_streaming; turn++) {
        int64_t now = clock_ns();
        if (turn && !p->rate) {
            p->is_blocked = 1;
            watch(p, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 1;
        }
        size_t used = 0;
        while (used + p->size + EVENT_BYTES < BLOCK_BYTES + EVENT_BYTES && (!p->events || p->sent < p->events)) {
            if (p->rate && (p->due = p->start + (int64_t)(p->sent * 1000000000 / p->rate)) > now) break;
            used += make_event(p->out + used, p, p->sent++, now);
        }
        if (p->events && p->sent == p->events) {
            memcpy(p->out + used, "0\r\n\r\n", 5), used += 5;
            p->is_streaming = 0;
        }
        p->pending = used;
        if (!used) break;
        state = flush(p);
    }
    if (state < 0) return 0;
    if (p->is_streaming && p->rate && state == 1) {
        if (p->place < 0) heap_add(p);
        else heap_fix(p->place);
    } else
        heap_remove(p);
    return 1;
}

static uint64_t parameter(const char *target, const char *name, uint64_t otherwise) {
    const char *at = strstr(target, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : otherwise;
}

/* 0 if the peer is gone. */
static int take(Peer *p) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
        "content-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    ssize_t n = recv(p->fd, p->request + p->have, REQUEST_BYTES - p->have, 0);
    if (n < 0 && errno == EAGAIN) return 1;
    if (n <= 0) return 0;
    p->have += (size_t)n;
    if (p->skip) {
        size_t part = p->have < p->skip ? p->have : p->skip;
        p->skip -= part;
        memmove(p->request, p->request + part, p->have -= part);
    }
    p->request[p->have] = 0;
    char *end = strstr(p->request, "\r\n\r\n");
    if (!end || p->is_streaming) return p->have < REQUEST_BYTES;
    *end = 0;
    char *length = strcasestr(p->request, "\r\ncontent-length:");
    char *line_end = strstr(p->request, "\r\n");
    if (line_end) *line_end = 0;
    p->events = parameter(p->request, "events=", 1), p->rate = parameter(p->request, "rate=", 0);
    p->size = parameter(p->request, "size=", 300);
    if (p->size > EVENT_BYTES - 64) p->size = EVENT_BYTES - 64;
    p->skip = length ? strtoull(length + 17, NULL, 10) : 0;
    size_t used = (size_t)(end + 4 - p->request), rest = p->have - used;
    size_t body = rest < p->skip ? rest : p->skip;
    p->skip -= body;
    memmove(p->request, p->request + used + body, p->have = rest - body);
    p->sent = 0, p->is_streaming = 1, p->start = p->due = clock_ns();
    memcpy(p->out, head, p->pending = sizeof head - 1);
    p->pending_at = 0;
    return pump(p);
}

static void arm(void) {
    struct itimerspec when = {0};
    if (heap_size) {
        int64_t due = heap[0]->due;
        when.it_value.tv_sec = due / 1000000000, when.it_value.tv_nsec = due % 1000000000;
    }
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int main(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event found[256];
    for (;;) {
        arm();
        int count = epoll_wait(epoll_fd, found, 256, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            Peer *p = found[i].data.ptr;
            if (found[i].data.ptr == &timer_fd) {
                uint64_t times;
                if (read(timer_fd, &times, sizeof times) < 0) continue;
                continue;
            }
            if (found[i].data.ptr == &listener) {
                for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    if (!(p = calloc(1, sizeof *p)) || !(p->request = malloc(REQUEST_BYTES + 1)) ||
                        !(p->out = malloc(BLOCK_BYTES + 2 * EVENT_BYTES)))
                        die("malloc");
                    p->fd = fd, p->place = -1;
                    watch(p, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            int stays = 1;
            if (found[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) stays = take(p);
            if (stays && found[i].events & EPOLLOUT) stays = pump(p);
            if (!stays) drop(p);
        }
        int64_t now = clock_ns();
        while (heap_size && heap[0]->due <= now) {
            Peer *p = heap[0];
            if (!pump(p)) drop(p);
        }
    }
}
