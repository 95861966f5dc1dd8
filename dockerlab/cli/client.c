/* What client.py does, compiled: an interpreter's start is most of a short command line. Built where a package is installed and a C compiler is at hand.

   It is the program named in a shim's first line, `#!…/dockerlab/cli/client …/bin/python`, so the kernel starts it as `client PYTHON SHIM WORD…` (execve(2)).
   Where no command server takes the command line it becomes `PYTHON -SP SHIM WORD…`: the shim is a Python program, and that is the ordinary path.
   The message, its descriptors and the answer are described in client.py. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROTOCOL "2"
#define LOST "the command server was killed, and what it did for this command line with it\n"

extern char **environ;
static int line;

static void forward(int number)
{
    char byte = number;
    int kept = errno;
    send(line, &byte, 1, MSG_NOSIGNAL);
    errno = kept;
}

/* A standard descriptor that is closed would be taken by the next file that is opened. */
static void whole(void)
{
    int number;
    while ((number = open("/dev/null", O_RDWR)) >= 0 && number < 3)
        ;
    if (number >= 0)
        close(number);
}

/* Gives where the server listens, in a folder that is ours alone; 0 where there is none. */
static int address(const char *python, struct sockaddr_un *place)
{
    static const char *names[] = {"XDG_RUNTIME_DIR", "TMPDIR"};
    const char *base = NULL;
    char folder[sizeof place->sun_path], package[4096];
    struct stat installed, interpreter, status;

    for (int i = 0; i < 2 && !(base && *base); i++)
        base = getenv(names[i]);
    ssize_t size = readlink("/proc/self/exe", package, sizeof package - 1);
    if (size < 0)
        return 0;
    package[size] = 0;
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(package, '/');
        if (!slash)
            return 0;
        *slash = 0;
    }
    size = snprintf(folder, sizeof folder, "%s/dockerlab-%u", base && *base ? base : "/tmp", geteuid());
    if (size >= (ssize_t)sizeof folder || lstat(folder, &status) || status.st_uid != geteuid() || (status.st_mode & 0170077) != 0040000)
        return 0;
    if (stat(package, &installed) || stat(python, &interpreter))
        return 0;
    place->sun_family = AF_UNIX;
    size = snprintf(place->sun_path, sizeof place->sun_path, "%s/%lx-%lx-%lx", folder, (long)installed.st_dev, (long)installed.st_ino, (long)interpreter.st_ino);
    return size < (ssize_t)sizeof place->sun_path;
}

/* Gives the one message; NULL where there is no folder or no memory. */
static char *message(int count, char **words, size_t *size)
{
    char *data = NULL, *folder = getcwd(NULL, 0);
    FILE *file = open_memstream(&data, size);
    if (!folder || !file)
        return NULL;
    fprintf(file, "0000%s%c%s%c%d%cdocker%c", PROTOCOL, 0, folder, 0, count, 0, 0);
    for (int i = 1; i < count; i++)
        fprintf(file, "%s%c", words[i], 0);
    for (char **entry = environ; *entry; entry++)
        if (strchr(*entry, '='))
            fprintf(file, "%s%c", *entry, 0);
    if (fclose(file))
        return NULL;
    for (int i = 0; i < 4; i++)
        data[i] = (*size - 4) >> (24 - 8 * i);
    return data;
}

/* Sends all of it, and the three standard descriptors with its beginning (unix(7), SCM_RIGHTS). */
static int handed_over(char *data, size_t size)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(3 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(3 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {data, size};
    struct msghdr first = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    memcpy(CMSG_DATA(&control.header), (int[]){0, 1, 2}, 3 * sizeof(int));
    ssize_t sent = sendmsg(line, &first, MSG_NOSIGNAL);
    for (size_t done = 0; sent >= 0; sent = send(line, data + done, size - done, MSG_NOSIGNAL))
        if ((done += sent) == size)
            return 1;
    return 0;
}

/* Gives the exit code that the server tells, or -1 where there is no server that can do it. */
static int asked(const char *python, int count, char **words)
{
    static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
    struct sockaddr_un place = {0};
    struct ucred peer;
    socklen_t length = sizeof peer;
    struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART}, before;
    unsigned char answer[5];
    size_t size;
    char *data;

    if (!address(python, &place) || (line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 || connect(line, (struct sockaddr *)&place, sizeof place))
        return -1;
    if (getsockopt(line, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.uid != geteuid() || !(data = message(count, words, &size)))
        return -1;
    /* Only the end of a terminal may be somebody's not to hear of (nohup(1)): see client.py. */
    for (int i = 0; i < 5; i++)
        if (forwarded[i] != SIGHUP || (!sigaction(SIGHUP, NULL, &before) && before.sa_handler != SIG_IGN))
            sigaction(forwarded[i], &action, NULL);
    if (!handed_over(data, size))
        return -1;
    if (recv(line, answer, 1, 0) != 1 || *answer != '+')
        return -1;
    /* It is being done, and nobody does it twice. */
    if (recv(line, answer, sizeof answer, 0) == sizeof answer)
        return answer[4];
    if (write(2, LOST, sizeof LOST - 1) < 0)
        return 125;
    return 125;
}

int main(int count, char **words)
{
    const char *server = getenv("DOCKERLAB_SERVER");
    int code;

    whole();
    if (count < 3) {
        fprintf(stderr, "usage: client PYTHON SHIM [WORD...]\n");
        return 125;
    }
    if (!(server && !strcmp(server, "0")) && (code = asked(words[1], count - 2, words + 2)) >= 0)
        return code;
    char **again = calloc(count + 2, sizeof *again);
    if (again) {
        again[0] = words[1], again[1] = "-SP";
        memcpy(again + 2, words + 2, (count - 2) * sizeof *again);
        execv(words[1], again);
    }
    perror(words[1]);
    return 125;
}
