/* A file layer that fails, dies and forgets on command, for whole programs under test (LD_PRELOAD).

   It stands between a program and the C library, for everything below the folder DEATH_BELOW: each operation that
   changes a file is counted, in a page that all processes share, and written to a log. At the n-th one it does what
   that page says: fail, write short, or kill the process group. It also lies about the time of day.

   The page (DEATH_PAGE) belongs to the test, which may change it while the program runs. The log (DEATH_LOG) tells what
   was synced and in which order names changed; what a rename or an unlink takes away is kept under a second name in
   DEATH_GRAVES. From the two, a test makes the folder that a power loss would leave.

   A lock is held from before an operation until it is logged, so that a kill finds no operation done and not told. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The same numbers as in disk.py. FAIL_FROM does half of the first write that it meets, as a full disk does. */
enum mode { OBSERVE = 0, FAIL_ONCE = 1, FAIL_FROM = 2, SHORT_ALWAYS = 3, KILL = 4, TEAR = 5 };

struct page {
  int64_t operations;      /* seen so far */
  int64_t at;              /* the number of the operation that is struck; the first is 1 */
  int64_t mode;
  int64_t error;           /* errno of a failure */
  int64_t clock_offset_ns; /* added to the time of day */
  int64_t struck;          /* how many operations were */
  int64_t met;             /* operations whose path holds `on`, since the test set it */
  char on[64];             /* only these are counted towards `at`; "": all */
};

static struct page *page;
static char below[PATH_MAX], graves[PATH_MAX / 2];
static size_t below_length;
static int log_file = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

/* The log is the lock between processes, too: one that a fork shares with its parent would keep nobody out. */
static void open_log(void) {
  int opened = (int)syscall(SYS_openat, AT_FDCWD, getenv("DEATH_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log_file >= 0) syscall(SYS_close, log_file);
  log_file = fcntl(opened, F_DUPFD_CLOEXEC, 900); /* out of the program's way */
  syscall(SYS_close, opened);
}

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("DEATH_BELOW"), *at = getenv("DEATH_PAGE"), *log = getenv("DEATH_LOG");
  if (!folder || !at || !log) return;
  int file = (int)syscall(SYS_openat, AT_FDCWD, at, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  syscall(SYS_close, file);
  if (mapped == MAP_FAILED) return;
  snprintf(below, sizeof below, "%s/", folder);
  below_length = strlen(below);
  snprintf(graves, sizeof graves, "%s", getenv("DEATH_GRAVES") ? getenv("DEATH_GRAVES") : "");
  open_log();
  pthread_atfork(NULL, NULL, open_log);
  page = mapped;
}

static void lock(void) {
  pthread_mutex_lock(&mutex);
  while (flock(log_file, LOCK_EX) && errno == EINTR) {}
}

static void unlock(void) {
  flock(log_file, LOCK_UN);
  pthread_mutex_unlock(&mutex);
}

/* Whether a path lies below the folder; gives it in full. */
static int is_ours(int folder, const char *path, char *full) {
  char base[PATH_MAX];
  if (!page || !path) return 0;
  if (path[0] == '/') {
    snprintf(full, PATH_MAX, "%s", path);
  } else {
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return 0;
    } else {
      char name[64];
      snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
      ssize_t length = readlink(name, base, sizeof base - 1);
      if (length < 0) return 0;
      base[length] = 0;
    }
    if (strlen(base) + strlen(path) + 2 > PATH_MAX) return 0;
    strcpy(full, base);
    strcat(full, "/");
    strcat(full, path);
  }
  return strncmp(full, below, below_length) == 0;
}

/* Whether a descriptor is a file (or folder) below the folder; gives its path of now. */
static int is_our_file(int file, char *full) {
  char name[64];
  if (!page || file < 0) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  ssize_t length = readlink(name, full, PATH_MAX - 1);
  if (length <= 0 || full[0] != '/') return 0;
  full[length] = 0;
  if (strncmp(full, below, below_length) == 0) return 1;
  return strlen(full) + 1 == below_length && strncmp(full, below, below_length - 1) == 0; /* the folder itself */
}

static void note(const char *kind, const char *path, const char *other, long long number) {
  char line[3 * PATH_MAX];
  int length = snprintf(line, sizeof line, "%lld\t%s\t%s\t%s\t%lld\t%d\n", (long long)page->operations, kind, path,
                        other ? other : "", number, (int)getpid());
  syscall(SYS_write, log_file, line, (size_t)length);
}

/* Count an operation, with the lock held. 0: go on. 1: fail, errno is set. 2: write half of it. */
static int struck(const char *kind, const char *path) {
  page->operations++;
  if (!strstr(strlen(path) < below_length ? "" : path + below_length, page->on)) return 0;
  int64_t number = ++page->met;
  int is_write = kind[0] == 'w';
  if (page->mode == OBSERVE) return 0;
  if (page->mode == SHORT_ALWAYS) return is_write ? 2 : 0;
  if (number < page->at || (number > page->at && page->mode != FAIL_FROM)) return 0;
  if (page->mode == FAIL_FROM && page->error == ENOSPC && strchr("UDF", kind[0])) return 0; /* needs no room */
  page->struck++;
  note(page->mode == KILL || page->mode == TEAR ? "kill" : "fail", path, kind, page->error);
  switch (page->mode) {
    case KILL:
      kill(0, SIGKILL);
      for (;;) pause();
    case TEAR:
      if (is_write) return 2;
      kill(0, SIGKILL);
      for (;;) pause();
    default:
      if (page->mode == FAIL_FROM && is_write && number == page->at) return 2;
      errno = (int)page->error;
      return 1;
  }
}

static void die_if_torn(void) {
  if (page->mode == TEAR && page->struck) {
    kill(0, SIGKILL);
    for (;;) pause();
  }
}

static long long size_of(int file) {
  struct stat found;
  return fstat(file, &found) ? -1 : (long long)found.st_size;
}

/* Keep what a rename or unlink takes away: gives its second name, or "". */
static void bury(const char *path, char *grave) {
  grave[0] = 0;
  struct stat found;
  if (!graves[0] || lstat(path, &found) || !S_ISREG(found.st_mode)) return;
  snprintf(grave, PATH_MAX, "%s/%lld-%d", graves, (long long)page->operations, (int)getpid());
  if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, grave, 0)) grave[0] = 0;
}

#define KEEP_ERRNO(act) do { int kept = errno; act; errno = kept; } while (0)

/* Writing */

#define WRITING(full, whole, half)                      \
  lock();                                               \
  int how = struck("write", full);                      \
  ssize_t done = how == 1 ? -1 : how == 2 ? half : whole; \
  KEEP_ERRNO(note("write", full, NULL, done));          \
  die_if_torn();                                        \
  KEEP_ERRNO(unlock());                                 \
  return done

ssize_t write(int file, const void *data, size_t size) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return REAL(write)(file, data, size);
  WRITING(full, REAL(write)(file, data, size), REAL(write)(file, data, (size + 1) / 2));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return REAL(pwrite)(file, data, size, at);
  WRITING(full, REAL(pwrite)(file, data, size, at), REAL(pwrite)(file, data, (size + 1) / 2, at));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return pwrite(file, data, size, at); }

ssize_t writev(int file, const struct iovec *pieces, int count) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return REAL(writev)(file, pieces, count);
  WRITING(full, REAL(writev)(file, pieces, count),
          REAL(write)(file, pieces[0].iov_base, (pieces[0].iov_len + 1) / 2));
}

ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t at) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return REAL(pwritev)(file, pieces, count, at);
  WRITING(full, REAL(pwritev)(file, pieces, count, at),
          REAL(pwrite)(file, pieces[0].iov_base, (pieces[0].iov_len + 1) / 2, at));
}

ssize_t sendfile(int to, int from, off_t *at, size_t size) {
  char full[PATH_MAX];
  if (!is_our_file(to, full)) return REAL(sendfile)(to, from, at, size);
  WRITING(full, REAL(sendfile)(to, from, at, size), REAL(sendfile)(to, from, at, (size + 1) / 2));
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) { return sendfile(to, from, at, size); }

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
  char full[PATH_MAX];
  if (!is_our_file(to, full)) return REAL(copy_file_range)(from, from_at, to, to_at, size, flags);
  WRITING(full, REAL(copy_file_range)(from, from_at, to, to_at, size, flags),
          REAL(copy_file_range)(from, from_at, to, to_at, (size + 1) / 2, flags));
}

/* Everything else that changes something: `act` is done unless the operation is struck */

#define CHANGING(kind, full, act, told)              \
  lock();                                            \
  int done = struck(kind, full) == 1 ? -1 : (act);   \
  if (done >= 0) KEEP_ERRNO(told);                   \
  KEEP_ERRNO(unlock());                              \
  return done

static int opened(int folder, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  int (*open_at)(int, const char *, int, ...) = REAL(openat);
  int changes = flags & (O_CREAT | O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY;
  if (!changes || (flags & O_TMPFILE) == O_TMPFILE || !is_ours(folder, path, full))
    return open_at(folder, path, flags, mode);
  struct stat before;
  int is_there = !stat(full, &before);
  CHANGING(is_there ? "Truncate" : "Create", full, open_at(folder, path, flags, mode),
           note(is_there ? "Truncate" : "Create", full, NULL, is_there && !(flags & O_TRUNC) ? before.st_size : 0));
}

#define MODE_OF(flags, mode)                                     \
  mode_t mode = 0;                                               \
  if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                                \
    va_start(rest, flags);                                       \
    mode = (mode_t)va_arg(rest, int);                            \
    va_end(rest);                                                \
  }

int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static int synced(int file, int (*sync)(int)) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return sync(file);
  struct stat about;
  int is_folder = !fstat(file, &about) && S_ISDIR(about.st_mode);
  long long size = size_of(file);
  CHANGING(is_folder ? "Folder" : "Sync", full, sync(file), note(is_folder ? "Folder" : "Sync", full, NULL, size));
}

int fsync(int file) { return synced(file, REAL(fsync)); }
int fdatasync(int file) { return synced(file, REAL(fdatasync)); }

int ftruncate(int file, off_t size) {
  char full[PATH_MAX];
  if (!is_our_file(file, full)) return REAL(ftruncate)(file, size);
  CHANGING("Truncate", full, REAL(ftruncate)(file, size), note("Truncate", full, NULL, (long long)size));
}

int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }

static int renamed(int old_folder, const char *old, int new_folder, const char *new, unsigned flags) {
  char from[PATH_MAX], to[PATH_MAX], grave[PATH_MAX];
  if (!is_ours(old_folder, old, from) || !is_ours(new_folder, new, to))
    return (int)syscall(SYS_renameat2, old_folder, old, new_folder, new, flags);
  lock();
  int done = -1;
  if (struck("Rename", to) != 1) {
    bury(to, grave);
    done = (int)syscall(SYS_renameat2, old_folder, old, new_folder, new, flags);
  }
  if (done >= 0) KEEP_ERRNO(note("Rename", from, to, 0); if (grave[0]) note("Grave", to, grave, 0));
  KEEP_ERRNO(unlock());
  return done;
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int a, const char *old, int b, const char *new) { return renamed(a, old, b, new, 0); }
int renameat2(int a, const char *old, int b, const char *new, unsigned flags) { return renamed(a, old, b, new, flags); }

static int removed(int folder, const char *path, int flags) {
  char full[PATH_MAX], grave[PATH_MAX];
  if (!is_ours(folder, path, full)) return (int)syscall(SYS_unlinkat, folder, path, flags);
  const char *kind = flags & AT_REMOVEDIR ? "DropFolder" : "Unlink";
  lock();
  int done = -1;
  if (struck(kind, full) != 1) {
    bury(full, grave);
    done = (int)syscall(SYS_unlinkat, folder, path, flags);
    if (done < 0 && grave[0]) KEEP_ERRNO(syscall(SYS_unlinkat, AT_FDCWD, grave, 0));
  }
  if (done >= 0) KEEP_ERRNO(note(kind, full, grave, 0));
  KEEP_ERRNO(unlock());
  return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
  struct stat found;
  return removed(AT_FDCWD, path, !lstat(path, &found) && S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0);
}

int mkdirat(int folder, const char *path, mode_t mode) {
  char full[PATH_MAX];
  if (!is_ours(folder, path, full)) return REAL(mkdirat)(folder, path, mode);
  CHANGING("MakeFolder", full, REAL(mkdirat)(folder, path, mode), note("MakeFolder", full, NULL, 0));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int a, const char *old, int b, const char *new, int flags) {
  char from[PATH_MAX], to[PATH_MAX];
  if (!is_ours(a, old, from) || !is_ours(b, new, to)) return REAL(linkat)(a, old, b, new, flags);
  CHANGING("Link", to, REAL(linkat)(a, old, b, new, flags), note("Link", from, to, 0));
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

/* The time of day */

int clock_gettime(clockid_t clock, struct timespec *now) {
  int done = (int)syscall(SYS_clock_gettime, clock, now);
  if (!done && page && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + page->clock_offset_ns;
    now->tv_sec = ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
  }
  return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec precise;
  int done = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return done;
}

time_t time(time_t *out) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (out) *out = precise.tv_sec;
  return precise.tv_sec;
}
