package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// spawner starts processes on one thread that lives as long as the lab. The kernel ties a
// parent-death signal to the thread that forked, not to the program; so one long-lived thread
// makes "the children end with the lab, even when it is killed" true, and prevents the runtime
// from killing them early by ending an idle thread.
type spawner struct {
	jobs chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func()), done: make(chan struct{})}
	go s.run()
	return s
}

// run never unlocks its thread, so the thread (which has been in other namespaces) ends here.
func (s *spawner) run() {
	defer close(s.done)
	runtime.LockOSThread()
	for job := range s.jobs {
		job()
	}
}

// start starts cmd inside ns, on the given processors only; none: on all that this program may use.
func (s *spawner) start(ns *NS, cmd *exec.Cmd, cpus []int) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // a terminal's Ctrl-C is for the lab, which then ends them
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return s.do(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		return pinned(cpus, cmd.Start)
	})
}

// do runs f on the thread.
func (s *spawner) do(f func() error) error {
	result := make(chan error, 1)
	s.jobs <- func() { result <- f() }
	return <-result
}

func (s *spawner) close() {
	close(s.jobs)
	<-s.done
}
