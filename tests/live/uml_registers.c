/* Stands before linux.uml (LD_PRELOAD) on a processor with more registers than it has room for.
 *
 * linux.uml 6.1 keeps 2,696 bytes of a process's extended state. A processor with AMX has 11,008; the host lets it read the first of
 * them, but refuses to set less than all (xstateregs_set in Linux), and the first process that it starts ends with SIGSEGV. Here what it
 * sets is completed with what the process has: the registers of AMX, which nothing in these machines uses.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

typedef long (*ptrace_t)(int, pid_t, void *, void *);

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_t real;
    /* Not on the stack: a thread of its kernel has 16 KiB. It has one processor, so no other call comes between. */
    static char all[1 << 16] __attribute__((aligned(64)));
    struct iovec *given, whole = { all, sizeof all };
    va_list rest;
    pid_t pid;
    void *address, *data;

    if (real == NULL)
        real = (ptrace_t)dlsym(RTLD_NEXT, "ptrace");
    va_start(rest, request);
    pid = va_arg(rest, pid_t);
    address = va_arg(rest, void *);
    data = va_arg(rest, void *);
    va_end(rest);
    if (request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE)
        return real(request, pid, address, data);
    given = data;
    if (real(PTRACE_GETREGSET, pid, address, &whole) < 0)
        return -1;
    if (given->iov_len < whole.iov_len)
        memcpy(all, given->iov_base, given->iov_len);
    else
        whole = *given;
    return real(PTRACE_SETREGSET, pid, address, &whole);
}
