// What the CronJob controller's own library says of schedules: an independent answer to compare ours with.
//
// Each line of standard input is a time zone, a Unix time, a count and an expression, with tabs between. Each line of
// standard output is the next Unix times with blanks between, or "refused".
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		fmt.Fprintln(out, answer(strings.SplitN(lines.Text(), "\t", 4)))
	}
}

func answer(question []string) string {
	schedule, err := cron.ParseStandard(question[3])
	if err != nil {
		return "refused"
	}
	zone, err := time.LoadLocation(question[0])
	if err != nil {
		panic(err)
	}
	from, _ := strconv.ParseInt(question[1], 10, 64)
	count, _ := strconv.Atoi(question[2])
	moment := time.Unix(from, 0).In(zone)
	var times []string
	for range count {
		moment = schedule.Next(moment)
		if moment.IsZero() {
			break
		}
		times = append(times, strconv.FormatInt(moment.Unix(), 10))
	}
	return strings.Join(times, " ")
}
