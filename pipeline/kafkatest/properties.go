package kafkatest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// serverProperties is the configuration of one broker among nodes. What is not written here is Kafka's default.
func serverProperties(n *node, nodes []*node, extra map[string]string) []byte {
	replicas := strconv.Itoa(min(len(nodes), 3))
	inSync := strconv.Itoa(min(len(nodes), 2))
	p := map[string]string{
		"node.id":                   strconv.Itoa(n.id),
		"process.roles":             "broker,controller",
		"listeners":                 "PLAINTEXT://" + n.addr + ",CONTROLLER://" + n.controllerAddr,
		"advertised.listeners":      "PLAINTEXT://" + n.addr,
		"controller.listener.names": "CONTROLLER",
		"controller.quorum.voters":  voters(nodes),
		"log.dirs":                  n.data(),

		"auto.create.topics.enable":      "false",
		"unclean.leader.election.enable": "false",
		"default.replication.factor":     replicas,
		"min.insync.replicas":            inSync,

		"offsets.topic.num.partitions":             "3",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "3",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            inSync,

		// A test waits for nobody: groups form at once, and a dead broker is known dead after 3 seconds, not 9.
		"group.initial.rebalance.delay.ms": "0",
		"broker.heartbeat.interval.ms":     "500",
		"broker.session.timeout.ms":        "3000",

		// The default is 128 MB, taken at the start: a quarter of our heap.
		"log.cleaner.dedupe.buffer.size": strconv.Itoa(16 << 20),
	}
	maps.Copy(p, extra)
	var b bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	return b.Bytes()
}

// voters lists the controllers as controller.quorum.voters wants them: 0@host:port,1@host:port.
func voters(nodes []*node) string {
	list := make([]string, len(nodes))
	for i, n := range nodes {
		list[i] = fmt.Sprintf("%d@%s", n.id, n.controllerAddr)
	}
	return strings.Join(list, ",")
}

// newClusterID makes a random id: 16 bytes in base64. Brokers of another cluster that meet us on a reused port have
// another id and are turned away.
func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f // the text then starts with a letter, and no tool takes it for a flag
	return base64.RawURLEncoding.EncodeToString(id[:])
}
